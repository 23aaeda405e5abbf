//! A guest of which every write is known, and an honest log that fails when told to.

use memtwin_pages::{Layout, PageSet, RegionId};
use memtwin_replicate::{Collector, GuestState, Source, SourceError};

pub(super) const PAGE: u64 = 512;
pub(super) const PAGES: [u64; 2] = [40, 7];

pub(super) type Page = (RegionId, u64);

/// Writes when the test says so.
pub(super) struct Guest {
    layout: Layout,
    pub(super) memory: Vec<Vec<u8>>,
    log: Vec<PageSet>,
    /// Fails the next collection, half-way.
    pub(super) fails: bool,
    /// Fails the read after this many.
    pub(super) reads: Option<u32>,
}

impl Guest {
    pub(super) fn new() -> Self {
        Self {
            layout: super::layout(&PAGES.map(|pages| (pages, PAGE))),
            memory: PAGES.iter().map(|&pages| vec![7; (pages * PAGE) as usize]).collect(),
            log: PAGES.iter().map(|&pages| PageSet::new(pages)).collect(),
            fails: false,
            reads: None,
        }
    }

    pub(super) fn write(&mut self, (region, page): Page, value: u8) {
        self.memory[region.0][(page * PAGE) as usize + 5] = value;
        self.log[region.0].insert(page);
    }
}

impl Source for Guest {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn start_logging(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    fn collect(&mut self, into: &mut dyn Collector) -> Result<(), SourceError> {
        into.pages(RegionId(0), self.log[0].words());
        self.log[0].clear();
        if std::mem::take(&mut self.fails) {
            return Err(SourceError::Log("scripted".into()));
        }
        self.log[1].iter().for_each(|page| into.page(RegionId(1), page));
        self.log[1].clear();
        Ok(())
    }

    fn read(&mut self, region: RegionId, offset: u64, into: &mut [u8]) -> Result<(), SourceError> {
        match &mut self.reads {
            Some(0) => {
                self.reads = None;
                return Err(SourceError::Memory("scripted".into()));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        let from = offset as usize;
        into.copy_from_slice(&self.memory[region.0][from..from + into.len()]);
        Ok(())
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
