//! The control of a running judge: the pages that [`WithheldTwin`](memtwin_twin::WithheldTwin) has kept as they
//! were, for a log that has not named them since. What is read of the memory is compared with these too; who
//! tells lost pages from late ones is not told which they are.

use memtwin_pages::{Image, Layout, PageSize, RegionId, Run};
use memtwin_qemu::BlockMemory;
use memtwin_replicate::{RoundError, SourceError};
use memtwin_verdict::{CompareError, Difference, SuspectTracker, differences};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

type KeptPages = BTreeMap<u64, Box<[u8]>>;

/// The pages that were kept back, as a judge sees them.
pub(super) struct ControlPages {
    tracker: SuspectTracker,
    /// How a page differed from the old one when it was read last, if it did, by region and page.
    last: Vec<BTreeMap<u64, Option<Difference>>>,
}

impl ControlPages {
    /// None yet.
    pub(super) fn new(layout: &Layout) -> Self {
        Self { tracker: SuspectTracker::new(layout), last: vec![BTreeMap::new(); layout.len()] }
    }

    /// These pages were read, with these bytes.
    ///
    /// Errors: the two are not of one length.
    pub(super) fn read(
        &mut self,
        (region, pages, page_size): (RegionId, Run, PageSize),
        kept: &KeptPages,
        bytes: &[u8],
    ) -> Result<(), RoundError> {
        let page_len = page_size.as_usize();
        for (&page, old) in kept.range(pages.first..pages.end()) {
            let at = (page - pages.first) as usize * page_len;
            self.enter((region, page, page_size), old, &bytes[at..at + page_len])?;
        }
        Ok(())
    }

    /// Reads all of them.
    ///
    /// Errors: the memory can't be read.
    pub(super) fn read_all(
        &mut self,
        region: RegionId,
        kept: &KeptPages,
        memory: &BlockMemory,
        page_size: PageSize,
    ) -> Result<(), RoundError> {
        for (&page, old) in kept {
            let mut bytes = vec![0; old.len()];
            let failed = |error: io::Error| SourceError::Memory(Box::new(error));
            memory.read_at(page_size.offset_of(page), &mut bytes).map_err(failed)?;
            self.enter((region, page, page_size), old, &bytes)?;
        }
        Ok(())
    }

    fn enter(
        &mut self,
        (region, page, page_size): (RegionId, u64, PageSize),
        old: &[u8],
        now: &[u8],
    ) -> Result<(), RoundError> {
        let failed = |error: CompareError| SourceError::Memory(Box::new(error));
        let found = differences(&now, &old, page_size, [0]).map_err(failed)?.pop();
        match &found {
            None => self.tracker.equal(region, Run { first: page, count: 1 }),
            Some(_) => self.tracker.differs(region, page),
        }
        let found = found.map(|found| Difference { page, ..found });
        self.last[region.0].insert(page, found);
        Ok(())
    }

    /// See [`SuspectTracker::close`].
    pub(super) fn close(&mut self, begun: u64) {
        self.tracker.close(begun);
    }

    /// See [`SuspectTracker::delivered`]. That the log has named a page is never told.
    pub(super) fn delivered(&mut self, collection: u64) {
        self.tracker.delivered(collection);
    }

    /// Whether of one it is not yet known what it is.
    pub(super) fn is_waiting(&self) -> bool {
        self.tracker.is_waiting()
    }

    /// Those of a region that were not the memory's when they were read last.
    pub(super) fn withheld(&self, region: RegionId) -> BTreeSet<u64> {
        let pages = self.last[region.0].iter().filter(|(_, found)| found.is_some());
        pages.map(|(page, _)| *page).collect()
    }

    /// Those of a region that the judge calls unexplained.
    pub(super) fn found(&self, region: RegionId) -> Vec<Difference> {
        let unexplained = self.tracker.unexplained(region).iter();
        unexplained.filter_map(|page| self.last[region.0].get(&page)?.clone()).collect()
    }
}
