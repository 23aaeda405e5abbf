//! What is owed to the twin: the one place where a collected bit lives until it is committed.

use crate::Collector;
use memtwin_pages::{Layout, PageSet, RegionId, Run};

/// Per region: what this round's collection named, what is still owed, and when each page went last.
#[derive(Debug)]
pub(crate) struct Backlog {
    named: Vec<PageSet>,
    owed: Vec<PageSet>,
    /// What a hypervisor has handed over by itself and the sink has not committed yet.
    arrived: Vec<PageSet>,
    last_round: Vec<Vec<u32>>,
}

impl Backlog {
    /// Everything is owed: the twin is empty.
    pub(crate) fn of_everything(layout: &Layout) -> Self {
        let empty = || layout.iter().map(|(_, region)| PageSet::new(region.pages()));
        let rounds = |pages: u64| vec![0; usize::try_from(pages).unwrap_or(usize::MAX)];
        Self {
            named: empty().collect(),
            arrived: empty().collect(),
            owed: empty()
                .map(|mut set| {
                    set.fill();
                    set
                })
                .collect(),
            last_round: layout.iter().map(|(_, region)| rounds(region.pages())).collect(),
        }
    }

    /// Forgets what the last collection named; what is owed stays.
    pub(crate) fn forget_named(&mut self) {
        self.named.iter_mut().for_each(PageSet::clear);
    }

    /// Lends itself to a sink that gives pages back: they are owed, but the log did not name them.
    pub(crate) fn owing(&mut self) -> RequeueCollector<'_> {
        RequeueCollector(&mut self.owed)
    }

    /// What was named in this round's collection, by region.
    pub(crate) fn named(&self) -> &[PageSet] {
        &self.named
    }

    /// How many pages were named in this round's collection.
    pub(crate) fn named_count(&self) -> u64 {
        self.named.iter().map(PageSet::count).sum()
    }

    /// Every run of pages that is owed, in order.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (RegionId, Run)> {
        self.owed
            .iter()
            .enumerate()
            .flat_map(|(i, set)| set.runs().map(move |run| (RegionId(i), run)))
    }

    /// How many pages are owed.
    pub(crate) fn owed_count(&self) -> u64 {
        self.owed.iter().map(PageSet::count).sum()
    }

    /// Whether nothing is owed.
    pub(crate) fn is_empty(&self) -> bool {
        self.owed.iter().all(PageSet::is_empty)
    }

    /// The sink has committed all that was owed, in round `round`. The only way off the backlog.
    pub(crate) fn committed(&mut self, round: u32) {
        for (owed, last_round) in self.owed.iter_mut().zip(&mut self.last_round) {
            if round > 0 {
                for page in &*owed {
                    last_round[page as usize] = round;
                }
            }
            owed.clear();
        }
    }

    /// A hypervisor has handed these pages over; they are owed until they are committed.
    pub(crate) fn arrived(&mut self, region: RegionId, pages: Run) {
        for page in pages.first..pages.end() {
            self.page(region, page);
            self.arrived[region.0].insert(page);
        }
    }

    /// The sink has committed all that arrived, in round `round`; what never came stays owed.
    pub(crate) fn committed_arrivals(&mut self, round: u32) {
        let regions = self.owed.iter_mut().zip(&mut self.arrived).zip(&mut self.last_round);
        for ((owed, arrived), last_round) in regions {
            for page in &*arrived {
                owed.remove(page);
                if round > 0 {
                    last_round[page as usize] = round;
                }
            }
            arrived.clear();
        }
    }

    /// What is owed, by region.
    pub(crate) fn owed(&self) -> &[PageSet] {
        &self.owed
    }

    /// The round in which a page was last committed.
    pub(crate) fn last_round(&self, region: RegionId, page: u64) -> u32 {
        self.last_round[region.0][page as usize]
    }
}

impl Collector for Backlog {
    fn pages(&mut self, region: RegionId, bitmap: &[u64]) {
        self.owed[region.0].insert_words(bitmap);
        self.named[region.0].insert_words(bitmap);
    }

    fn page(&mut self, region: RegionId, page: u64) {
        self.owed[region.0].insert(page);
        self.named[region.0].insert(page);
    }
}

/// Takes what is owed without having been named.
pub(crate) struct RequeueCollector<'b>(&'b mut [PageSet]);

impl Collector for RequeueCollector<'_> {
    fn pages(&mut self, region: RegionId, bitmap: &[u64]) {
        self.0[region.0].insert_words(bitmap);
    }

    fn page(&mut self, region: RegionId, page: u64) {
        self.0[region.0].insert(page);
    }
}
