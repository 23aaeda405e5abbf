//! A source from outside: a recorded guest, of which its memory and the bitmaps of its log are left. It names
//! `memtwin-pages` and `memtwin-replicate` alone, as any new source may.
//!
//! Its memory is the final one from the first collection on, so it stands at the end of the recording as
//! soon as it is paused or ended: the next collection names all that is left.

use memtwin_pages::{Gpa, Layout, PageSet, PageSize, Region, RegionId};
use memtwin_replicate::{
    Collector, GuestControl, GuestState, Provenance, ReadMemory, Source, SourceError, SourceOrigin,
};

/// The only region.
const RAM: RegionId = RegionId(0);

/// A recorded guest, replayed once.
#[derive(Debug)]
pub(crate) struct RecordedGuest {
    layout: Layout,
    /// As it was in the end; it began with zeros.
    memory: Vec<u8>,
    /// What its log named, round by round.
    rounds: Vec<PageSet>,
    collected: usize,
    is_precopied: bool,
    is_ended: bool,
}

impl RecordedGuest {
    /// A guest that wrote the pages that its log named, round by round, and those that it did not.
    pub(crate) fn new(size: PageSize, pages: u64, named: &[Vec<u64>], unnamed: &[u64]) -> Self {
        let region = Region::new("ram", Gpa(0), pages * size.bytes(), size).unwrap();
        let mut memory = vec![0; region.bytes() as usize];
        for (&page, mark) in named.iter().flatten().chain(unnamed).zip(1..) {
            memory[size.offset_of(page) as usize + 5] = mark;
        }
        let round = |named: &Vec<u64>| {
            let mut set = PageSet::new(pages);
            named.iter().for_each(|&page| _ = set.insert(page));
            set
        };
        Self {
            layout: Layout::new(vec![region]),
            memory,
            rounds: named.iter().map(round).collect(),
            collected: 0,
            is_precopied: false,
            is_ended: false,
        }
    }
}

impl Source for RecordedGuest {
    fn layout(&self) -> &Layout {
        &self.layout
    }
    fn start_logging(&mut self) -> Result<(), SourceError> {
        Ok(())
    }
    fn collect(&mut self, into: &mut dyn Collector) -> Result<(), SourceError> {
        self.is_precopied = true;
        let left = &self.rounds[self.collected..];
        let taken = if self.is_ended { left.len() } else { left.len().min(1) };
        left[..taken].iter().for_each(|named| into.pages(RAM, named.words()));
        self.collected += taken;
        Ok(())
    }
    fn read(&mut self, _: RegionId, offset: u64, into: &mut [u8]) -> Result<(), SourceError> {
        let from = offset as usize;
        match self.is_precopied {
            true => into.copy_from_slice(&self.memory[from..from + into.len()]),
            false => into.fill(0),
        }
        Ok(())
    }
    fn pause(&mut self) -> Result<(), SourceError> {
        self.is_ended = true;
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
        let is_over = self.is_ended || self.collected == self.rounds.len();
        Ok(if is_over { GuestState::Stopped } else { GuestState::Running })
    }
}

impl GuestControl for RecordedGuest {
    fn start(&mut self) {}
    fn stop(&mut self) {
        self.is_ended = true;
    }
    fn pace(&mut self, _pages_per_second: Option<u64>) {}
    fn written(&self) -> u64 {
        self.rounds[..self.collected].iter().map(PageSet::count).sum()
    }
}

impl ReadMemory for RecordedGuest {
    type Memory = Vec<u8>;
    fn memory(&self, _: RegionId) -> Vec<u8> {
        self.memory.clone()
    }
}

impl Provenance for RecordedGuest {
    fn provenance(&self) -> SourceOrigin {
        SourceOrigin { source: "recorded".to_owned(), ..SourceOrigin::default() }
    }
}
