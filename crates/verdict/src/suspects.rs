//! The bookkeeping of a judge that reads memory while its guest runs (docs/judging.md).
//!
//! A page that is not the twin's was written after it was copied, and an honest log owes its name. A page that is
//! still not named when the log has been collected anew, and all of that has come to the twin, is *unexplained*:
//! lost, unless its writer tells the log late. Who says which is not here.

use memtwin_pages::{Layout, PageSet, RegionId, Run};

/// How many collections must have begun after a page was read, and all their pages come, before it is unexplained.
/// In the first the mark of a store may be missing that was half done when it was read (KVM marks after an emulated
/// store); in the second it is not.
const COLLECTIONS: u64 = 2;

/// The pages of one guest that differed when they were read.
#[derive(Clone, Debug)]
pub struct SuspectTracker {
    /// What was read since the last [`SuspectTracker::close`].
    open: Vec<PageSet>,
    /// What was read before, oldest first.
    waiting: Vec<Batch>,
    unexplained: Vec<PageSet>,
    counts: Vec<SuspectCounts>,
}

/// Pages that were read between two rounds.
#[derive(Clone, Debug)]
struct Batch {
    /// How many collections had begun when the last of them was read.
    begun: u64,
    pages: Vec<PageSet>,
}

/// What became of the suspects of a region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SuspectCounts {
    /// Pages that differed when they were read; one that was dismissed may come again.
    pub suspects: u64,
    /// Those that the log named afterwards, or that were the twin's again.
    pub dismissed: u64,
}

impl SuspectTracker {
    /// No page was read yet.
    pub fn new(layout: &Layout) -> Self {
        Self {
            open: none_of(layout),
            waiting: Vec::new(),
            unexplained: none_of(layout),
            counts: vec![SuspectCounts::default(); layout.len()],
        }
    }

    /// This page was read, and is not the twin's.
    pub fn differs(&mut self, region: RegionId, page: u64) {
        let at = region.0;
        let known = self.unexplained[at].contains(page)
            || self.waiting.iter().any(|batch| batch.pages[at].contains(page));
        // From when it differed first: the twin is what it was then, or it would have been named.
        if !known && self.open[at].insert(page) {
            self.counts[at].suspects += 1;
        }
    }

    /// These pages were read, and are the twin's.
    pub fn equal(&mut self, region: RegionId, pages: Run) {
        let mut equal = 0;
        for set in self.sets(region.0) {
            equal += set.runs_in(pages).map(|run| run.count).sum::<u64>();
            set.remove_run(pages);
        }
        self.counts[region.0].dismissed += equal;
    }

    /// Ends what is read between two rounds; `begun`: how many collections have begun, asked after the last read.
    pub fn close(&mut self, begun: u64) {
        if self.open.iter().all(PageSet::is_empty) {
            return;
        }
        let empty = self.open.iter().map(|set| PageSet::new(set.capacity())).collect();
        let pages = std::mem::replace(&mut self.open, empty);
        self.waiting.push(Batch { begun, pages });
    }

    /// The log has named these pages, by region, and they have come to the twin.
    pub fn named(&mut self, named: &[PageSet]) {
        for (at, named) in named.iter().enumerate() {
            let mut dismissed = 0;
            for set in self.sets(at) {
                let before = set.count();
                set.subtract(named);
                dismissed += before - set.count();
            }
            self.counts[at].dismissed += dismissed;
        }
    }

    /// All pages of the collections up to this one have come to the twin, and were told here.
    pub fn delivered(&mut self, collection: u64) {
        let due = |batch: &Batch| batch.begun.saturating_add(COLLECTIONS) <= collection;
        for batch in self.waiting.extract_if(.., |batch| due(batch)) {
            for (unexplained, pages) in self.unexplained.iter_mut().zip(&batch.pages) {
                unexplained.union_with(pages);
            }
        }
        self.waiting.retain(|batch| batch.pages.iter().any(|pages| !pages.is_empty()));
    }

    /// Whether of a page that was read it is not yet known what it is.
    pub fn is_waiting(&self) -> bool {
        let some = |sets: &[PageSet]| sets.iter().any(|set| !set.is_empty());
        some(&self.open) || self.waiting.iter().any(|batch| some(&batch.pages))
    }

    /// The pages of a region that differ, and that no collection has named that had to.
    pub fn unexplained(&self, region: RegionId) -> &PageSet {
        &self.unexplained[region.0]
    }

    /// What became of a region's.
    pub fn counts(&self, region: RegionId) -> SuspectCounts {
        self.counts[region.0]
    }

    /// Every set that a page of the region may be in; a page is in one of them at most.
    fn sets(&mut self, at: usize) -> impl Iterator<Item = &mut PageSet> {
        let waiting = self.waiting.iter_mut().map(move |batch| &mut batch.pages[at]);
        [&mut self.open[at], &mut self.unexplained[at]].into_iter().chain(waiting)
    }
}

fn none_of(layout: &Layout) -> Vec<PageSet> {
    layout.iter().map(|(_, region)| PageSet::new(region.pages())).collect()
}

#[cfg(test)]
mod tests;
