//! The records in a body of DATA: whole blocks, zero blocks, changed words.

use crate::bytes::{BodyCursor, put_varint};
use crate::{Delta, HEAD, MOST_BODY, TwinShape, WireError, delta};
use delta::BlockUpdate;
use memtwin_pages::RegionId;

const FULL: u8 = 1;
const ZERO: u8 = 2;
const DELTA: u8 = 3;

/// A frame is sent when its body has this many bytes: small enough for a core's second-level cache.
const ENOUGH: usize = 256 << 10;

/// A body never grows past this: [`ENOUGH`], and one more record with its numbers.
const _: () = assert!(ENOUGH + (64 << 10) + 64 <= MOST_BODY as usize);

/// One record, within the bounds of its layout.
#[derive(Clone, Copy, Debug)]
pub enum PageRecord<'a> {
    /// Whole blocks.
    Full {
        /// Of which region.
        region: RegionId,
        /// The first block.
        first: u64,
        /// How many.
        count: u64,
        /// Their bytes.
        bytes: &'a [u8],
    },
    /// Blocks that are all zero.
    Zero {
        /// Of which region.
        region: RegionId,
        /// The first block.
        first: u64,
        /// How many.
        count: u64,
    },
    /// What changed in one block.
    Delta {
        /// Of which region.
        region: RegionId,
        /// Which block.
        block: u64,
        /// The changed words.
        delta: Delta<'a>,
    },
}

impl PageRecord<'_> {
    /// The region, the first block and how many there are.
    pub fn blocks(&self) -> (RegionId, u64, u64) {
        match *self {
            Self::Full { region, first, count, .. } | Self::Zero { region, first, count } => {
                (region, first, count)
            }
            Self::Delta { region, block, .. } => (region, block, 1),
        }
    }
}

/// The records of a body, all of which have been checked.
#[derive(Clone, Debug)]
pub struct PageRecords<'a> {
    shape: &'a TwinShape,
    cursor: BodyCursor<'a>,
}

impl<'a> PageRecords<'a> {
    /// Checks every record of a body. Errors: one of them is not within the layout.
    pub fn check(body: &'a [u8], shape: &'a TwinShape) -> Result<Self, WireError> {
        let this = Self { shape, cursor: BodyCursor::new("a record", body) };
        let mut walk = this.clone();
        while !walk.cursor.is_empty() {
            walk.read()?;
        }
        Ok(this)
    }

    /// As [`PageRecords::check`], of a frame that a peer has sent: it may name no more zero blocks than
    /// the layout has, so that a few bytes are never much work. A sender's frames never do.
    pub fn from_peer(body: &'a [u8], shape: &'a TwinShape) -> Result<Self, WireError> {
        let this = Self { shape, cursor: BodyCursor::new("a record", body) };
        let mut walk = this.clone();
        let (mut zeros, blocks) = (0u64, shape.blocks());
        while !walk.cursor.is_empty() {
            if let PageRecord::Zero { count, .. } = walk.read()? {
                // Neither is over 2^54, as a layout ends below 2^63.
                zeros += count;
                if zeros > blocks {
                    return Err(WireError::ZeroBlocks { got: zeros, blocks });
                }
            }
        }
        Ok(this)
    }

    fn read(&mut self) -> Result<PageRecord<'a>, WireError> {
        let cursor = &mut self.cursor;
        let (tag, region, first) = (cursor.u8()?, cursor.varint()?, cursor.varint()?);
        let count = match tag {
            FULL => u64::from(cursor.u32()?),
            ZERO => cursor.varint()?,
            _ => 1,
        };
        let id = self.shape.check(region, first, count)?;
        match tag {
            FULL => {
                // Can't overflow: the blocks are there.
                let bytes = cursor.take(count * self.shape.block(id) as u64)?;
                Ok(PageRecord::Full { region: id, first, count, bytes })
            }
            ZERO => Ok(PageRecord::Zero { region: id, first, count }),
            DELTA => {
                let delta = Delta::read(cursor, self.shape.block(id))?;
                Ok(PageRecord::Delta { region: id, block: first, delta })
            }
            _ => {
                let expected = "1, 2 or 3";
                Err(WireError::Range { what: "a record's tag", got: tag.into(), expected })
            }
        }
    }
}

impl<'a> Iterator for PageRecords<'a> {
    type Item = PageRecord<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        // Was checked.
        if self.cursor.is_empty() { None } else { self.read().ok() }
    }
}

/// Builds the body of a DATA frame, behind room for its head. Neighbouring whole blocks, and
/// neighbouring zero blocks, become one record.
#[derive(Debug)]
pub struct RecordWriter {
    frame: Vec<u8>,
    blocks: u64,
    /// How many zero blocks this frame has.
    zeros: u64,
    /// The bytes of the bodies before this one.
    bytes: u64,
    run: Option<OpenRun>,
}

/// A run that may still grow.
#[derive(Clone, Copy, Debug)]
struct OpenRun {
    zero: bool,
    region: RegionId,
    first: u64,
    count: u64,
    /// Where its count stands, for a run of whole blocks: it is put there in the end.
    at: usize,
}

impl OpenRun {
    fn goes_on_with(&self, zero: bool, region: RegionId, block: u64) -> bool {
        (self.zero, self.region, self.first + self.count) == (zero, region, block)
    }
}

impl Default for RecordWriter {
    fn default() -> Self {
        let mut frame = Vec::with_capacity(HEAD + ENOUGH + (64 << 10) + 64);
        frame.resize(HEAD, 0);
        Self { frame, blocks: 0, zeros: 0, bytes: 0, run: None }
    }
}

impl RecordWriter {
    /// Adds a whole block.
    pub fn full(&mut self, region: RegionId, block: u64, bytes: &[u8]) {
        if !self.run.is_some_and(|run| run.goes_on_with(false, region, block)) {
            self.close();
            put_numbers(&mut self.frame, FULL, &[region.0 as u64, block]);
            let at = self.frame.len();
            self.frame.extend_from_slice(&[0; 4]);
            self.run = Some(OpenRun { zero: false, region, first: block, count: 0, at });
        }
        self.frame.extend_from_slice(bytes);
        self.grow();
    }

    /// Adds a block of zeros.
    pub fn zero(&mut self, region: RegionId, block: u64) {
        if !self.run.is_some_and(|run| run.goes_on_with(true, region, block)) {
            self.close();
            self.run = Some(OpenRun { zero: true, region, first: block, count: 0, at: 0 });
        }
        self.grow();
    }

    /// Makes `held`, what the twin holds of a block, equal to `new`, and adds what that takes: the
    /// changed words, or the whole block where that is hardly longer. Whether anything changed.
    pub fn update(&mut self, region: RegionId, block: u64, held: &mut [u8], new: &[u8]) -> bool {
        // An open run stays open if the block turns out to go whole, or not at all.
        let run = self.run;
        let began = self.frame.len();
        self.close();
        put_numbers(&mut self.frame, DELTA, &[region.0 as u64, block]);
        match delta::update(held, new, new.len() * 3 / 4, &mut self.frame) {
            BlockUpdate::Changed => {
                self.blocks += 1;
                true
            }
            BlockUpdate::Same => {
                self.frame.truncate(began);
                self.run = run;
                false
            }
            BlockUpdate::TooMuch => {
                self.frame.truncate(began);
                self.run = run;
                self.full(region, block, new);
                held.copy_from_slice(new);
                true
            }
        }
    }

    /// How many bytes of records it has made since it was restarted.
    pub fn bytes(&self) -> u64 {
        self.bytes + (self.frame.len() - HEAD) as u64
    }

    /// How many blocks it has taken since it was restarted.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Whether it is time to send what there is, to a twin of this shape.
    pub fn is_full(&self, shape: &TwinShape) -> bool {
        self.frame.len() >= HEAD + ENOUGH || self.zeros >= shape.blocks()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.frame.len() == HEAD && self.run.is_none()
    }

    /// The frame to be sealed: room for a head, and the body. [`RecordWriter::clear`] it after.
    pub fn frame(&mut self) -> &mut [u8] {
        self.close();
        &mut self.frame
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.bytes = self.bytes();
        self.zeros = 0;
        self.run = None;
        self.frame.truncate(HEAD);
    }

    /// Begins to count blocks again.
    pub fn restart(&mut self) {
        self.clear();
        (self.blocks, self.bytes) = (0, 0);
    }

    fn grow(&mut self) {
        if let Some(run) = &mut self.run {
            run.count += 1;
            self.blocks += 1;
            self.zeros += u64::from(run.zero);
        }
    }

    fn close(&mut self) {
        let Some(run) = self.run.take() else { return };
        if run.zero {
            put_numbers(&mut self.frame, ZERO, &[run.region.0 as u64, run.first, run.count]);
        } else {
            // A frame's worth of blocks of 512 bytes or more fits.
            self.frame[run.at..run.at + 4].copy_from_slice(&(run.count as u32).to_le_bytes());
        }
    }
}

fn put_numbers(into: &mut Vec<u8>, tag: u8, numbers: &[u64]) {
    into.push(tag);
    for &number in numbers {
        put_varint(into, number);
    }
}

#[cfg(test)]
mod tests;
