//! A source without a guest: memory of our own, and a log that names what we say.

use anyhow::Result;
use memtwin_mapping::{Mapping, host_page_size};
use memtwin_pages::{Gpa, Layout, PageSet, PageSize, Region, RegionId, Run};
use memtwin_replicate::{Collector, GuestState, Source, SourceError};
use std::sync::Arc;

/// Memory and the pages that the next collection will name.
pub(crate) struct PlainMemory {
    layout: Layout,
    page: PageSize,
    memory: Arc<Mapping>,
    dirty: PageSet,
}

impl PlainMemory {
    /// Random data in this mapping.
    pub(crate) fn new(memory: Mapping) -> Result<Self> {
        let page = PageSize::new(host_page_size() as u64)?;
        let region = Region::new("memory", Gpa(0), memory.len() as u64, page)?;
        let dirty = PageSet::new(region.pages());
        memtwin_stressor::fill(&memory, memory.len(), page.as_usize(), 1);
        Ok(Self { layout: Layout::new(vec![region]), page, memory: Arc::new(memory), dirty })
    }

    /// Writes a word in each of these pages, and names them in the next collection.
    pub(crate) fn write(&mut self, pages: &[u64], value: u64) {
        for &page in pages {
            self.memory.write(self.page.offset_of(page) as usize + 8, &value.to_ne_bytes());
            self.dirty.insert(page);
        }
    }
}

/// `count` distinct pages of `of`, in order.
pub(crate) fn some_pages(of: u64, count: usize, mut seed: u64) -> Vec<u64> {
    let mut set = PageSet::new(of);
    let mut left = count;
    while left > 0 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        left -= usize::from(set.insert(seed % of));
    }
    set.iter().collect()
}

impl Source for PlainMemory {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn start_logging(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    fn collect(&mut self, into: &mut dyn Collector) -> Result<(), SourceError> {
        into.pages(RegionId(0), self.dirty.words());
        self.dirty.clear();
        Ok(())
    }

    fn read(&mut self, _: RegionId, offset: u64, into: &mut [u8]) -> Result<(), SourceError> {
        self.memory.read(offset as usize, into);
        Ok(())
    }

    fn prefetch(&self, _: RegionId, pages: Run) {
        let (from, len) = (self.page.offset_of(pages.first), self.page.offset_of(pages.count));
        self.memory.prefetch(from as usize, len as usize);
    }

    fn pause(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    fn confirm_paused(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    fn resume(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    fn stop_logging(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    fn guest(&mut self) -> Result<GuestState, SourceError> {
        Ok(GuestState::Running)
    }
}
