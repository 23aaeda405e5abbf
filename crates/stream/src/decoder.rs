//! The decoder: takes bytes in any pieces, reads them item by item.
//!
//! An item is what is read in one go: a command, the head of a section, a page record. Reading it
//! has no effect before it is there as a whole, so it can be tried again with more bytes. What a
//! cut leaves of one is carried over.

use crate::StreamPhase;
use crate::bitmap::BitmapSection;
use crate::blocks::{BlockListing, BlockTable};
use crate::cursor::{CursorHalt, ItemCursor};
use crate::{DecodeError, FeedError, SectionKind, StreamFault, StreamVisitor, wire};

/// How much a stream may list. Pages need no memory of the decoder's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// How many blocks.
    pub blocks: usize,
    /// How many bytes all blocks together.
    pub ram_bytes: u64,
}

impl Default for StreamLimits {
    /// 1,024 blocks and 64 TiB.
    fn default() -> Self {
        Self { blocks: 1024, ram_bytes: 64 << 40 }
    }
}

/// What is to be read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecoderState {
    Magic,
    Machine,
    /// Subsections of the configuration, or what comes after them.
    Configuration,
    Capabilities {
        left: u32,
    },
    /// A command or a section.
    Between,
    /// The list of blocks in the first section.
    Listing,
    /// Page records.
    Records,
    Footer,
    /// Chunks of the section of dirty bitmaps.
    Bitmaps,
    /// What is left of another device's section whose length is known, and its footer.
    Skip {
        left: u64,
        id: u32,
    },
    ForeignFooter {
        id: u32,
    },
    Opaque,
}

/// Decodes a migration stream up to the end of RAM.
#[derive(Debug)]
pub struct Decoder {
    pub(crate) limits: StreamLimits,
    pub(crate) page_bytes: u32,
    pub(crate) state: DecoderState,
    /// Where the next item begins in the stream.
    pub(crate) start: u64,
    /// What there is of an item that was cut, and how much of it is needed to go on.
    carried: Vec<u8>,
    needed: usize,
    pub(crate) failed: Option<DecodeError>,

    /// Whether a footer closes each section. Only very old machine types go without.
    pub(crate) footers: bool,
    /// Whether each block comes with an address.
    pub(crate) ignore_shared: bool,
    /// The page sizes behind the blocks, added up, if some blocks come with theirs.
    pub(crate) postcopy_pages: Option<u64>,
    /// The number of the RAM section, once it has started.
    pub(crate) ram: Option<u32>,
    /// The RAM section that is open or was last, and its page records.
    pub(crate) kind: SectionKind,
    pub(crate) pages: u64,
    pub(crate) listing: BlockListing,
    /// The section of dirty bitmaps.
    pub(crate) bitmaps: BitmapSection,
    /// The blocks, once they are all listed.
    pub(crate) blocks: Option<BlockTable>,
    /// The block that the last page record was of.
    pub(crate) current: Option<usize>,
}

impl Decoder {
    /// A decoder at the beginning of a stream.
    ///
    /// `page_bytes` is the target's page size if the stream does not say: it does where the
    /// target has several (all Arm targets but those with 1 KiB pages). x86: 4096.
    pub fn new(limits: StreamLimits, page_bytes: u32) -> Self {
        let good = page_bytes.is_power_of_two() && wire::PAGE_BITS.contains(&page_bytes.ilog2());
        let wrong = DecodeError { offset: 0, fault: StreamFault::PageBytes { bytes: page_bytes } };
        Self {
            limits,
            page_bytes,
            state: DecoderState::Magic,
            start: 0,
            carried: Vec::new(),
            needed: 0,
            failed: (!good).then_some(wrong),
            footers: true,
            ignore_shared: false,
            postcopy_pages: None,
            ram: None,
            kind: SectionKind::Start,
            pages: 0,
            listing: BlockListing::default(),
            bitmaps: BitmapSection::default(),
            blocks: None,
            current: None,
        }
    }

    /// Takes the next bytes of the stream, all of them, however they are cut, and tells the
    /// visitor what was in them.
    ///
    /// Errors: the stream is wrong or not understood, or the visitor fails. The decoder is spent
    /// then: it gives the same error whenever it is fed again ([`StreamFault::Stopped`] if it was the
    /// visitor's).
    pub fn feed<V: StreamVisitor>(
        &mut self,
        bytes: &[u8],
        to: &mut V,
    ) -> Result<(), FeedError<V::Error>> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone().into());
        }
        let result = self.take(bytes, to);
        if let Err(error) = &result {
            self.failed = Some(match error {
                FeedError::Decode(error) => error.clone(),
                FeedError::Visitor(_) => {
                    DecodeError { offset: self.start, fault: StreamFault::Stopped }
                }
            });
            self.carried = Vec::new();
        }
        result
    }

    fn take<V: StreamVisitor>(
        &mut self,
        mut bytes: &[u8],
        to: &mut V,
    ) -> Result<(), FeedError<V::Error>> {
        while !bytes.is_empty() {
            if self.state == DecoderState::Opaque {
                self.start += bytes.len() as u64;
                return Ok(());
            }
            if self.carried.is_empty() {
                match self.item(bytes, to) {
                    Ok(taken) => {
                        self.start += taken as u64;
                        bytes = &bytes[taken..];
                    }
                    Err(CursorHalt::Need(needed)) => {
                        self.carried.extend_from_slice(bytes);
                        self.needed = needed;
                        return Ok(());
                    }
                    Err(CursorHalt::Decode(error)) => return Err(error.into()),
                    Err(CursorHalt::Visitor(error)) => return Err(FeedError::Visitor(error)),
                }
            } else {
                bytes = self.top_up(bytes, to)?;
            }
        }
        Ok(())
    }

    /// Adds to what is carried until an item is whole. Returns the rest of the input.
    fn top_up<'a, V: StreamVisitor>(
        &mut self,
        bytes: &'a [u8],
        to: &mut V,
    ) -> Result<&'a [u8], FeedError<V::Error>> {
        let missing = self.needed.saturating_sub(self.carried.len()).min(bytes.len());
        let (now, later) = bytes.split_at(missing);
        self.carried.extend_from_slice(now);
        // What is read after a look ahead may be whole without another byte.
        while !self.carried.is_empty() && self.carried.len() >= self.needed {
            let mut carried = std::mem::take(&mut self.carried);
            let item = self.item(&carried, to);
            match item {
                Ok(taken) => {
                    self.start += taken as u64;
                    carried.drain(..taken);
                    self.needed = 0;
                }
                Err(CursorHalt::Need(needed)) => self.needed = needed,
                Err(CursorHalt::Decode(error)) => return Err(error.into()),
                Err(CursorHalt::Visitor(error)) => return Err(FeedError::Visitor(error)),
            }
            self.carried = carried;
        }
        Ok(later)
    }

    /// Reads one item, or a run of page records. Returns how many bytes were read.
    fn item<V: StreamVisitor>(
        &mut self,
        bytes: &[u8],
        to: &mut V,
    ) -> Result<usize, CursorHalt<V::Error>> {
        let mut item = ItemCursor::new(bytes, self.start);
        match self.state {
            DecoderState::Records => return self.records(bytes, to),
            DecoderState::Magic => self.magic(&mut item)?,
            DecoderState::Machine => self.machine(&mut item, to)?,
            DecoderState::Configuration => self.configuration(&mut item, to)?,
            DecoderState::Capabilities { left } => self.capability(&mut item, left)?,
            DecoderState::Between => self.between(&mut item, to)?,
            DecoderState::Listing => self.list(&mut item, to)?,
            DecoderState::Footer => {
                self.footer(&mut item)?;
                self.close(to)?;
            }
            DecoderState::Bitmaps => self.bitmap_chunk(&mut item, to)?,
            DecoderState::Skip { left, id } => return Ok(self.skip(bytes, left, id)),
            DecoderState::ForeignFooter { id } => self.foreign_footer(&mut item, id)?,
            DecoderState::Opaque => return Ok(bytes.len()),
        }
        Ok(item.taken())
    }

    /// How many bytes were taken. After an error: how many came before what it is about.
    pub fn offset(&self) -> u64 {
        self.start + self.carried.len() as u64
    }

    /// How far the stream has come.
    pub fn phase(&self) -> StreamPhase {
        match self.state {
            DecoderState::Opaque => StreamPhase::RamEnded,
            DecoderState::Magic | DecoderState::Machine => StreamPhase::Header,
            _ if self.blocks.is_none() => StreamPhase::Setup,
            DecoderState::Records | DecoderState::Footer if self.kind == SectionKind::End => {
                StreamPhase::LastPass
            }
            _ => StreamPhase::PreCopy,
        }
    }

    /// The target's page size, as the stream or else the caller has given it.
    pub fn page_bytes(&self) -> u32 {
        self.page_bytes
    }

    /// The stream has ended here.
    ///
    /// Errors: RAM had not ended, so the memory is not complete; or feeding had failed.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        match self.phase() {
            StreamPhase::RamEnded => Ok(()),
            phase => {
                Err(DecodeError { offset: self.offset(), fault: StreamFault::Truncated { phase } })
            }
        }
    }
}
