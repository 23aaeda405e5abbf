//! The parts of messages, as types.

use super::{MOST_DIGESTED, MOST_DIGESTS, MOST_FETCH};
use crate::{FrameKind, TwinShape, Versions, WireError};
use memtwin_pages::RegionId;

/// The sender's first words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The versions that it speaks.
    pub versions: Versions,
    /// Its session: the same number for as long as it lives.
    pub session: [u8; 16],
    /// A number for this connection.
    pub nonce: [u8; 16],
}

/// The receiver's answer to [`Hello`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The version that is spoken from here on.
    pub version: u16,
    /// A number for this connection.
    pub nonce: [u8; 16],
    /// The last round of this session that it holds.
    pub holds: Option<u32>,
}

/// The end of a round's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundEnd {
    /// Its number.
    pub round: u32,
    /// How many blocks its records had, counted as often as they came.
    pub blocks: u64,
}

/// A question about blocks of the twin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockQuery {
    /// Of which region.
    pub region: u64,
    /// The first block.
    pub first: u64,
    /// For digests: how many blocks go into one, the last one perhaps of fewer. Else 1.
    pub each: u32,
    /// How many digests, or blocks.
    pub count: u32,
}

impl BlockQuery {
    /// The region and the number of blocks that it asks for, if they are there and not too many.
    pub fn check(&self, shape: &TwinShape, kind: FrameKind) -> Result<(RegionId, u64), WireError> {
        let range = |what, got: u32, expected| WireError::Range { what, got: got.into(), expected };
        if self.each == 0 || self.count == 0 || self.count > MOST_DIGESTS {
            return Err(range("digests asked for", self.count, "1 to 4096"));
        }
        let id = shape.check(self.region, self.first, 1)?;
        // Digests may ask past the end, for a last one of fewer blocks.
        let whole = u64::from(self.each) * u64::from(self.count);
        let blocks = whole.min(shape.count(id) - self.first);
        if blocks + u64::from(self.each) <= whole {
            return Err(WireError::Blocks {
                region: self.region,
                first: self.first,
                end: self.first.saturating_add(whole),
                blocks: shape.count(id),
            });
        }
        // By both numbers, as no block is larger than 64 KiB.
        if blocks * shape.block(id) as u64 > MOST_DIGESTED {
            return Err(range("blocks to be hashed", self.count, "256 MiB of them at most"));
        }
        if kind == FrameKind::Fetch
            && (self.each != 1 || blocks * shape.block(id) as u64 > MOST_FETCH)
        {
            return Err(range("blocks asked for", self.count, "512 KiB of them at most"));
        }
        Ok((id, blocks))
    }
}

/// An answer to [`BlockQuery`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockAnswer<'a> {
    /// What was asked.
    pub asked: BlockQuery,
    /// The digests of 32 bytes each, or the blocks' bytes.
    pub bytes: &'a [u8],
}

/// What the judge says, who sits with the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TwinVerdict {
    /// Memory and twin are the same.
    Identical,
    /// They are not.
    Differs,
    /// There is no verdict.
    Inconclusive,
}

/// Why a peer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RefuseCode {
    /// No version that both speak.
    Version = 1,
    /// The receiver holds another session's twin.
    ForeignSession = 2,
    /// Bytes that are no frames.
    Malformed = 3,
    /// No room for the layout.
    NoRoom = 4,
    /// Something else is being received.
    Busy = 5,
    /// Another layout than the session's.
    Layout = 6,
    /// A frame that has no place there.
    Order = 7,
    /// The receiver can't write.
    Disk = 8,
    /// The session is over.
    Over = 9,
}

impl RefuseCode {
    pub(super) const ALL: [Self; 9] = [
        Self::Version,
        Self::ForeignSession,
        Self::Malformed,
        Self::NoRoom,
        Self::Busy,
        Self::Layout,
        Self::Order,
        Self::Disk,
        Self::Over,
    ];

    /// Whether another try may fare better.
    pub fn may_pass(self) -> bool {
        matches!(self, Self::Malformed | Self::Order | Self::Busy)
    }
}

/// Which image a journal belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalBase {
    /// The round that the image held when the journal began.
    pub round: u32,
    /// The number that the image's file has in its trailer.
    pub image: [u8; 16],
}
