//! A log that lies on purpose: the source of a control case.
//!
//! The injector stands between engine and source and keeps the same few pages back from every
//! collection, from its first sight of them to the end. What the engine last read of each page is
//! remembered as a digest, so that it can say afterwards which pages a judge has to find, without
//! knowing the twin: exactly those that were withheld and whose bytes have changed since.

mod guest_control;

use memtwin_pages::{Layout, PageSet, RegionId, Run};
use memtwin_replicate::{Collector, GuestState, Source, SourceError};
use std::hash::{DefaultHasher, Hasher};

/// A source of which some changed pages are never named.
///
/// Victims are pages that the engine does not owe when they are chosen. A round that failed on the
/// source's side is seen here, and respected; one of which every page was read and only the commit
/// failed is not, so a run in which the twin failed has no control.
#[derive(Debug)]
pub struct Injector<S> {
    source: S,
    /// How many victims are still to be chosen.
    missing: u64,
    random: fastrand::Rng,
    regions: Vec<WatchedTwin>,
}

/// What is known of a region's pages.
#[derive(Debug)]
struct WatchedTwin {
    /// Pages that the engine has read.
    known: PageSet,
    /// The digest of each page as the engine last read it.
    digests: Vec<u64>,
    /// Pages that the engine may still owe to the twin, whatever the next collection names.
    owed: PageSet,
    /// Those of them that it has not read since the last collection.
    unread: PageSet,
    victims: PageSet,
}

impl WatchedTwin {
    fn new(pages: u64) -> Self {
        let empty = PageSet::new(pages);
        Self {
            known: empty.clone(),
            digests: vec![0; usize::try_from(pages).unwrap_or(usize::MAX)],
            owed: empty.clone(),
            unread: empty.clone(),
            victims: empty,
        }
    }

    /// The engine reads a page. A victim is owed no more, so it is a judge who reads that.
    fn remember(&mut self, page: u64, bytes: &[u8]) {
        if !self.victims.contains(page) {
            self.digests[page as usize] = digest(bytes);
            self.known.insert(page);
            self.unread.remove(page);
        }
    }

    /// A page that the engine has, and will not read again unless it is named.
    fn may_be_victim(&self, page: u64) -> bool {
        self.known.contains(page) && !self.owed.contains(page) && !self.victims.contains(page)
    }
}

/// One collection of the wrapped source.
struct NamedByLog(Vec<PageSet>);

impl Collector for NamedByLog {
    fn pages(&mut self, region: RegionId, bitmap: &[u64]) {
        self.0[region.0].insert_words(bitmap);
    }

    fn page(&mut self, region: RegionId, page: u64) {
        self.0[region.0].insert(page);
    }
}

impl<S: Source> Injector<S> {
    /// Wraps `source`, to withhold `pages` pages that `seed` picks among the changed ones.
    pub fn new(source: S, pages: u64, seed: u64) -> Self {
        let regions = source.layout().iter().map(|(_, region)| WatchedTwin::new(region.pages()));
        Self {
            missing: pages,
            random: fastrand::Rng::with_seed(seed),
            regions: regions.collect(),
            source,
        }
    }

    /// The wrapped source.
    pub fn inner(&self) -> &S {
        &self.source
    }

    /// The wrapped source, to start, pace or end its guest.
    pub fn inner_mut(&mut self) -> &mut S {
        &mut self.source
    }

    /// Every page that was withheld and differs from what the engine last read of it, in order.
    ///
    /// Ask while the guest stands still: this is what a judge has to find then, no more, no less.
    /// Errors: the guest's memory can't be read.
    pub fn injected(&mut self) -> Result<Vec<(RegionId, u64)>, SourceError> {
        let victims: Vec<(RegionId, u64)> = self
            .regions
            .iter()
            .enumerate()
            .flat_map(|(i, region)| region.victims.iter().map(move |page| (RegionId(i), page)))
            .collect();
        let mut changed = Vec::new();
        for (region, page) in victims {
            if self.has_changed(region, page)? {
                changed.push((region, page));
            }
        }
        Ok(changed)
    }

    /// Picks victims among the named pages that really differ from what the engine has of them.
    fn choose(&mut self, named: &NamedByLog) {
        let mut candidates: Vec<(RegionId, u64)> = named
            .0
            .iter()
            .enumerate()
            .flat_map(|(i, pages)| pages.iter().map(move |page| (RegionId(i), page)))
            .collect();
        while self.missing > 0 && !candidates.is_empty() {
            let (region, page) = candidates.swap_remove(self.random.usize(..candidates.len()));
            // A page that can't be read now is no victim; the engine will see why by itself.
            if self.regions[region.0].may_be_victim(page)
                && self.has_changed(region, page).unwrap_or(false)
            {
                self.regions[region.0].victims.insert(page);
                self.missing -= 1;
            }
        }
    }

    fn has_changed(&mut self, region: RegionId, page: u64) -> Result<bool, SourceError> {
        let size = self.source.layout().region(region).page_size();
        let mut bytes = vec![0; size.as_usize()];
        self.source.read(region, size.offset_of(page), &mut bytes)?;
        Ok(digest(&bytes) != self.regions[region.0].digests[page as usize])
    }

    /// The engine begins a round. If it has read all that it owed, the last one went well.
    fn next_round(&mut self) {
        let went_well = self.regions.iter().all(|region| region.unread.is_empty());
        for WatchedTwin { owed, unread, .. } in &mut self.regions {
            if went_well {
                owed.clear();
            } else {
                unread.union_with(owed);
            }
        }
    }
}

/// 64 bits, of a fixed key: nobody forges pages here, and two that differ by accident collide once
/// in 2^64.
fn digest(page: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(page);
    hasher.finish()
}

impl<S: Source> Source for Injector<S> {
    fn layout(&self) -> &Layout {
        self.source.layout()
    }

    fn start_logging(&mut self) -> Result<(), SourceError> {
        self.source.start_logging()
    }

    fn collect(&mut self, into: &mut dyn Collector) -> Result<(), SourceError> {
        let mut named = NamedByLog(
            self.layout().iter().map(|(_, region)| PageSet::new(region.pages())).collect(),
        );
        let collected = self.source.collect(&mut named);
        self.next_round();
        if self.missing > 0 {
            self.choose(&named);
        }
        // Also on an error: what the source has added it may have cleared.
        for (i, (region, pages)) in self.regions.iter_mut().zip(&mut named.0).enumerate() {
            region.victims.iter().for_each(|victim| {
                pages.remove(victim);
            });
            region.owed.union_with(pages);
            region.unread.union_with(pages);
            into.pages(RegionId(i), pages.words());
        }
        collected
    }

    fn read(&mut self, region: RegionId, offset: u64, into: &mut [u8]) -> Result<(), SourceError> {
        self.source.read(region, offset, into)?;
        // The whole pages among the bytes.
        let size = self.source.layout().region(region).page_size();
        let first = size.pages_for(offset);
        let skip = (size.offset_of(first) - offset) as usize;
        let whole = into.get(skip..).unwrap_or_default().chunks_exact(size.as_usize());
        for (page, bytes) in (first..).zip(whole) {
            self.regions[region.0].remember(page, bytes);
        }
        Ok(())
    }

    fn prefetch(&self, region: RegionId, pages: Run) {
        self.source.prefetch(region, pages);
    }

    fn pause(&mut self) -> Result<(), SourceError> {
        self.source.pause()
    }

    fn confirm_paused(&mut self) -> Result<(), SourceError> {
        self.source.confirm_paused()
    }

    fn resume(&mut self) -> Result<(), SourceError> {
        self.source.resume()
    }

    fn stop_logging(&mut self) -> Result<(), SourceError> {
        self.source.stop_logging()
    }

    fn guest(&mut self) -> Result<GuestState, SourceError> {
        self.source.guest()
    }
}
