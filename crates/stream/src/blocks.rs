//! The list of blocks at the beginning of RAM (migration/ram.c, `ram_save_setup` and
//! `parse_ramblocks`).
//!
//! With the capability `postcopy-ram` an entry ends with the page size behind the block, but only
//! where that is not the source host's usual one, which is not sent. It can be derived from what else
//! could follow: no name is empty, and no record is without a flag.
//!
//! The total of all blocks comes first. When that is used up the list may still go on, with blocks of no
//! bytes: what follows is then another name, whose length is not zero, or a record, whose first byte is.

use crate::cursor::{CursorHalt, ItemCursor, lossy};
use crate::decoder::{Decoder, DecoderState};
use crate::{BlockEntry, StreamFault, StreamVisitor};
use std::collections::HashMap;

/// The blocks, once they are all listed.
#[derive(Debug, Default)]
pub(crate) struct BlockTable {
    by_name: HashMap<Vec<u8>, usize>,
    used_bytes: Vec<u64>,
}

impl BlockTable {
    pub(crate) fn find(&self, name: &[u8]) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The used length of a block that was found here.
    pub(crate) fn used_bytes(&self, block: usize) -> u64 {
        self.used_bytes.get(block).copied().unwrap_or(0)
    }

    /// The name of a block, for an error.
    pub(crate) fn name(&self, block: usize) -> String {
        self.by_name
            .iter()
            .find(|(_, place)| **place == block)
            .map_or_else(String::new, |(name, _)| lossy(name))
    }
}

/// A list that is being read.
#[derive(Debug, Default)]
pub(crate) struct BlockListing {
    entries: Vec<BlockEntry>,
    by_name: HashMap<Vec<u8>, usize>,
    /// How many bytes the blocks that are still to come have.
    left: u64,
    /// Whether the page size of the last entry may follow.
    page_size_next: bool,
}

impl Decoder {
    /// The record that the list begins with: the total of all blocks.
    pub(crate) fn begin_listing<E>(
        &mut self,
        item: &ItemCursor<'_>,
        total: u64,
    ) -> Result<(), CursorHalt<E>> {
        if total > self.limits.ram_bytes {
            let fault = StreamFault::TooLong {
                what: "bytes of RAM",
                most: self.limits.ram_bytes,
                got: total,
            };
            return item.wrong(8, fault);
        }
        if self.ignore_shared && self.postcopy_pages.is_some() {
            return item.wrong(8, StreamFault::Ambiguous);
        }
        self.listing = BlockListing { left: total, ..BlockListing::default() };
        self.state = DecoderState::Listing;
        Ok(())
    }

    pub(crate) fn list<V: StreamVisitor>(
        &mut self,
        item: &mut ItemCursor<'_>,
        to: &mut V,
    ) -> Result<(), CursorHalt<V::Error>> {
        if self.listing.page_size_next {
            self.block_page(item)
        } else if self.listing.left == 0 && item.peek(1)? == [0] {
            self.complete_listing(to)
        } else {
            self.block(item)
        }
    }

    fn block<E>(&mut self, item: &mut ItemCursor<'_>) -> Result<(), CursorHalt<E>> {
        let listing = &mut self.listing;
        let most = self.limits.blocks;
        if listing.entries.len() >= most {
            let got = listing.entries.len() as u64 + 1;
            return item.wrong(0, StreamFault::TooLong { what: "blocks", most: most as u64, got });
        }
        let bytes = item.counted()?;
        let name = || lossy(bytes);
        if bytes.is_empty() {
            return item.wrong(1, StreamFault::NoName);
        }
        if listing.by_name.contains_key(bytes) {
            return item.wrong(bytes.len(), StreamFault::BlockTwice { name: name() });
        }
        let used_bytes = item.u64()?;
        if used_bytes > listing.left {
            let (name, left) = (name(), listing.left);
            return item.wrong(8, StreamFault::Total { name, bytes: used_bytes, left });
        }
        if !used_bytes.is_multiple_of(self.page_bytes.into()) {
            let (name, page_bytes) = (name(), self.page_bytes);
            return item.wrong(8, StreamFault::BlockSize { name, bytes: used_bytes, page_bytes });
        }
        let gpa = if self.ignore_shared { Some(item.u64()?) } else { None };
        let name = bytes.to_vec();
        listing.by_name.insert(name.clone(), listing.entries.len());
        listing.entries.push(BlockEntry { name, used_bytes, gpa, page_bytes: None });
        listing.left -= used_bytes;
        listing.page_size_next = self.postcopy_pages.is_some();
        Ok(())
    }

    /// The page size of the entry before, if it is there.
    fn block_page<E>(&mut self, item: &mut ItemCursor<'_>) -> Result<(), CursorHalt<E>> {
        let announced = self.postcopy_pages.unwrap_or(0);
        // Another name, which is not empty, or the first record, which has a flag.
        let mut is_there = item.peek(1)? == [0];
        if is_there && self.listing.left == 0 {
            let flags = u64::from(self.page_bytes) - 1;
            is_there = item.peek_u64()? & flags == 0;
        }
        if is_there {
            let got = item.u64()?;
            let Some(entry) = self.listing.entries.last_mut() else { return Ok(()) };
            if !got.is_power_of_two() || got & announced == 0 {
                let fault = StreamFault::BlockPage { name: lossy(&entry.name), announced, got };
                return item.wrong(8, fault);
            }
            entry.page_bytes = Some(got);
        }
        self.listing.page_size_next = false;
        Ok(())
    }

    fn complete_listing<V: StreamVisitor>(
        &mut self,
        to: &mut V,
    ) -> Result<(), CursorHalt<V::Error>> {
        let BlockListing { entries, by_name, .. } = std::mem::take(&mut self.listing);
        to.blocks(&entries).map_err(CursorHalt::Visitor)?;
        let used_bytes = entries.iter().map(|entry| entry.used_bytes).collect();
        self.blocks = Some(BlockTable { by_name, used_bytes });
        self.state = DecoderState::Records;
        Ok(())
    }
}
