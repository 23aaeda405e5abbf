//! Why bytes from a peer are refused: what was expected, what came, and where.

use crate::FrameKind;
use memtwin_pages::{PageSizeError, RegionError};

/// What is wrong with bytes from a peer, or from a journal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A sum does not match.
    #[error(
        "frame {sequence}: the sum of its {part} is {got:08x}, expected {expected:08x}: damaged, or of another connection"
    )]
    Sum {
        /// The number of the frame that was expected.
        sequence: u64,
        /// Head or body.
        part: &'static str,
        /// What the bytes come to.
        expected: u32,
        /// What the frame says.
        got: u32,
    },
    /// A frame was repeated, left out or moved.
    #[error("frame {got} where frame {expected} was expected: repeated, or some are missing")]
    Sequence {
        /// The next one.
        expected: u64,
        /// The one that came.
        got: u64,
    },
    /// A frame is longer than any may be.
    #[error("a frame of {got} bytes, expected at most {most}")]
    TooLong {
        /// The length it claims.
        got: u32,
        /// The most there may be here.
        most: u32,
    },
    /// A kind that this version has not.
    #[error("a frame of the unknown kind {0:#04x}")]
    UnknownKind(u8),
    /// Bits that must be zero are not.
    #[error("bits of the frame's head that must be zero are {0:#x}")]
    NotZero(u32),
    /// A kind that has no place here.
    #[error("a frame {got:?} where {expected} was expected")]
    Unexpected {
        /// What would have been right.
        expected: &'static str,
        /// What came.
        got: FrameKind,
    },
    /// The body ends too early.
    #[error("{what} ends at byte {at}, {missing} bytes too early")]
    Short {
        /// What was read.
        what: &'static str,
        /// Where its bytes end.
        at: usize,
        /// How many more it needs.
        missing: usize,
    },
    /// The body goes on after its end.
    #[error("{what} goes on for {extra} bytes after its end")]
    Long {
        /// What was read.
        what: &'static str,
        /// How many bytes too many.
        extra: usize,
    },
    /// A number is outside of what it may be.
    #[error("{what}: {got}, expected {expected}")]
    Range {
        /// What the number is.
        what: &'static str,
        /// The number.
        got: u64,
        /// What it may be.
        expected: &'static str,
    },
    /// A varint that is too long, or not in its shortest form.
    #[error("a varint at byte {at} that is longer than it needs to be")]
    Varint {
        /// Where it begins.
        at: usize,
    },
    /// Bytes that are no text.
    #[error("{what} is not UTF-8")]
    Text {
        /// What it should have been.
        what: &'static str,
    },
    /// A text with characters that would do something to a terminal.
    #[error("{what} holds control characters")]
    Control {
        /// What it should have been.
        what: &'static str,
    },
    /// Not a peer of ours.
    #[error("this is not memtwin's wire: it begins with {0:02x?}")]
    Magic([u8; 8]),
    /// No version that both speak.
    #[error(
        "no common version: one side speaks {ours_low} to {ours_high}, the other {theirs_low} to {theirs_high}; update the older one"
    )]
    Version {
        /// The lowest of ours.
        ours_low: u16,
        /// The highest of ours.
        ours_high: u16,
        /// The lowest of theirs.
        theirs_low: u16,
        /// The highest of theirs.
        theirs_high: u16,
    },
    /// A region that is none.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// A page size that is none.
    #[error(transparent)]
    PageSize(#[from] PageSizeError),
    /// Two regions have the same name.
    #[error("two regions are named {0:?}")]
    SameName(String),
    /// Blocks that the region has not.
    #[error("blocks {first} to {end} of region {region}, which has {blocks}")]
    Blocks {
        /// The region's number.
        region: u64,
        /// The first block.
        first: u64,
        /// One after the last.
        end: u64,
        /// How many blocks there are.
        blocks: u64,
    },
    /// More zero blocks than there are blocks: what costs nothing to say is said once.
    #[error("a frame of {got} zero blocks, expected at most the {blocks} of the layout")]
    ZeroBlocks {
        /// How many the frame names.
        got: u64,
        /// How many the layout has.
        blocks: u64,
    },
    /// Words that the block has not.
    #[error("a delta writes up to word {end} of a block of {words}")]
    Words {
        /// One after the last word that it would write.
        end: u64,
        /// How many words the block has.
        words: u64,
    },
    /// A squeezed body that can't be opened.
    #[error("a body squeezed with {method} does not open to the {expected} bytes that it claims")]
    Squeezed {
        /// Which method.
        method: &'static str,
        /// What it should open to.
        expected: usize,
    },
}
