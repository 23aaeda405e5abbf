//! The control of a source that hands its pages over: beside the twin, what it would be if the log
//! had kept a few pages back.
//!
//! The twin itself gets every page, so the run it belongs to is judged on all of them. Of the few,
//! it is remembered what they were before the first write after pre-copy that changed them: the twin
//! with these old pages in place is the twin of a log that has not named them since. (Many a log names
//! every page once more after pre-copy, and most of them have not changed.) A judge who is given that
//! one, and not told which pages they are, must find exactly those that have really changed.

use crate::{MemoryTwin, SparseMemory, offset_of};
use memtwin_pages::{Layout, RegionId, Run};
use memtwin_replicate::{Sink, SinkError, WriteOutcome};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One in this many pages is chosen, after the first.
const CHANCE: u64 = 16;

/// A [`MemoryTwin`] that remembers some pages as they were after pre-copy.
#[derive(Debug)]
pub struct WithheldTwin {
    twin: MemoryTwin,
    layout: Layout,
    most: usize,
    random: fastrand::Rng,
    past_precopy: bool,
    kept: Vec<BTreeMap<u64, Box<[u8]>>>,
}

impl WithheldTwin {
    /// A twin that remembers at most this many pages of each region; `seed` decides which.
    pub fn new(most: usize, seed: u64) -> Self {
        Self {
            twin: MemoryTwin::new(),
            layout: Layout::default(),
            most,
            random: fastrand::Rng::with_seed(seed),
            past_precopy: false,
            kept: Vec::new(),
        }
    }

    /// The twin's memory. None before [`Sink::open`].
    pub fn memory(&self) -> Option<&Arc<SparseMemory>> {
        self.twin.memory()
    }

    /// The pages of a region that were chosen, as they were before the log named them.
    pub fn kept(&self, region: RegionId) -> &BTreeMap<u64, Box<[u8]>> {
        &self.kept[region.0]
    }

    /// Remembers some of the pages that these bytes are about to change.
    fn remember(&mut self, region: RegionId, first: u64, bytes: &[u8]) {
        let page_len = self.layout.region(region).page_size().as_usize();
        let begins = offset_of(&self.layout, region) as usize;
        let Some(memory) = self.twin.memory() else { return };
        let kept = &mut self.kept[region.0];
        for (page, new) in (first..).zip(bytes.chunks_exact(page_len)) {
            if kept.len() >= self.most {
                return;
            }
            let chosen = kept.is_empty() || self.random.u64(0..CHANCE) == 0;
            let at = begins + page as usize * page_len;
            if chosen && !kept.contains_key(&page) && !memory.equals(at, new) {
                let mut old = vec![0; page_len].into_boxed_slice();
                memory.read(at, &mut old);
                kept.insert(page, old);
            }
        }
    }
}

impl Sink for WithheldTwin {
    fn open(&mut self, layout: &Layout) -> Result<(), SinkError> {
        self.layout = layout.clone();
        self.kept = vec![BTreeMap::new(); layout.len()];
        self.twin.open(layout)
    }

    fn write(
        &mut self,
        region: RegionId,
        first: u64,
        bytes: &[u8],
    ) -> Result<WriteOutcome, SinkError> {
        if self.past_precopy {
            self.remember(region, first, bytes);
        }
        self.twin.write(region, first, bytes)
    }

    fn prefetch(&self, region: RegionId, pages: Run) {
        self.twin.prefetch(region, pages);
    }

    fn commit(&mut self, round: u32) -> Result<(), SinkError> {
        self.past_precopy = true;
        self.twin.commit(round)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_pages::{Gpa, PageSize, Region};

    /// The smallest there are: several lie in a page of the host.
    const PAGE: usize = PageSize::LEAST as usize;

    #[test]
    fn it_remembers_what_was_before_the_first_write_after_pre_copy() {
        let size = PageSize::new(PAGE as u64).unwrap();
        let region = Region::new("ram", Gpa(0), (PAGE * 64) as u64, size).unwrap();
        let mut twin = WithheldTwin::new(3, 1);
        twin.open(&Layout::new(vec![region])).unwrap();
        let ram = RegionId(0);
        twin.write(ram, 0, &[1; PAGE * 64]).unwrap();
        twin.commit(0).unwrap();
        assert!(twin.kept(ram).is_empty(), "pre-copy is no log");
        twin.write(ram, 0, &[1; PAGE * 64]).unwrap();
        twin.commit(1).unwrap();
        assert!(
            twin.kept(ram).is_empty(),
            "what does not change a page can't show that it was lost"
        );
        for value in 2..40 {
            twin.write(ram, 5, &[value; PAGE * 30]).unwrap();
            twin.commit(1).unwrap();
        }
        assert_eq!(twin.kept(ram).len(), 3);
        for (&page, bytes) in twin.kept(ram) {
            assert!((5..35).contains(&page));
            assert_eq!(**bytes, [1; PAGE]);
        }
        let mut now = [0; PAGE];
        twin.memory().unwrap().read(5 * PAGE, &mut now);
        assert_eq!(now, [39; PAGE], "the twin itself has every page");
    }
}
