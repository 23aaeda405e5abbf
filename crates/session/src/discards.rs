//! Which memory a QEMU's guest gives up while its log is followed: a balloon, free page reporting,
//! unplugged memory (docs/qemu.md, "Memory that the guest gave up").
//!
//! QEMU discards such memory and its log says nothing, as nothing was written. That it happened is
//! seen where the memory was: after each round, and again at the stop, the kernel is asked which pages
//! have none. A page that had none *after* it last came to the twin was emptied; that something has
//! filled its place with zeros since (a huge page, of which the guest wrote another part) changes nothing.

use memtwin_pages::{Layout, PageSet, Region, RegionId};
use memtwin_qemu::BlockMemory;
use memtwin_replicate::{Observer, ReplicationEvent, RoundKind};
use memtwin_verdict::Discards;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// After a look, the next is due when this many times what it took has gone by.
const REST: u32 = 10;

/// An observer that looks after each round, shared with the judge.
#[derive(Debug)]
pub(crate) struct DiscardWatch<'m> {
    memories: &'m [BlockMemory],
    balloon: bool,
    state: Mutex<DiscardState>,
}

#[derive(Debug)]
struct DiscardState {
    regions: Vec<Region>,
    /// By region, the pages that were seen without memory and have not come to the twin since.
    emptied: Vec<PageSet>,
    next: Instant,
}

impl<'m> DiscardWatch<'m> {
    /// Nothing seen yet. `memories` are in the order of the layout; `balloon`: whether the guest has
    /// what lets it give memory up while it is followed. If not, only the stop is looked at.
    pub(crate) fn new(memories: &'m [BlockMemory], layout: &Layout, balloon: bool) -> Self {
        let regions: Vec<Region> = layout.iter().map(|(_, region)| region.clone()).collect();
        let emptied = regions.iter().map(|region| PageSet::new(region.pages())).collect();
        let state = Mutex::new(DiscardState { regions, emptied, next: Instant::now() });
        Self { memories, balloon, state }
    }

    /// Whether a page that now reads as zero may have been given up unseen.
    pub(crate) fn may_miss(&self) -> bool {
        self.balloon
    }

    /// What is known of a region while its guest stands still and everything has come to the twin;
    /// `came`: what has come since the last event that said so.
    pub(crate) fn at_stop(&self, region: RegionId, came: Option<&PageSet>) -> Discards {
        let state = self.state();
        let absent = self.absent(region.0, &state.regions[region.0]);
        let mut emptied = state.emptied[region.0].clone();
        came.into_iter().for_each(|came| emptied.subtract(came));
        Discards::new(absent, emptied)
    }

    /// The same of these pages of a region alone: the others are not looked at.
    pub(crate) fn at_stop_of(&self, region: RegionId, pages: &PageSet) -> Discards {
        let state = self.state();
        let size = state.regions[region.0].page_size();
        let absent = self.memories[region.0].absent_among(pages, size);
        let mut emptied = state.emptied[region.0].clone();
        emptied.intersect_with(pages);
        Discards::new(absent.unwrap_or_else(|_| PageSet::new(pages.capacity())), emptied)
    }

    /// Where nothing can be seen, nothing was discarded: whoever reads the memory next says why.
    fn absent(&self, at: usize, region: &Region) -> PageSet {
        let absent = self.memories[at].absent_pages(region.page_size());
        absent
            .ok()
            .filter(|pages| pages.capacity() == region.pages())
            .unwrap_or_else(|| PageSet::new(region.pages()))
    }

    fn look(&self) {
        let mut state = self.state();
        let began = Instant::now();
        if began < state.next {
            return;
        }
        let DiscardState { regions, emptied, next } = &mut *state;
        for (at, (region, emptied)) in regions.iter().zip(emptied).enumerate() {
            emptied.union_with(&self.absent(at, region));
        }
        *next = Instant::now() + Duration::saturating_mul(began.elapsed(), REST);
    }

    fn state(&self) -> MutexGuard<'_, DiscardState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for &DiscardWatch<'_> {
    fn event(&mut self, event: &ReplicationEvent<'_>) {
        match event {
            // What came is the twin's again, whatever it was before.
            ReplicationEvent::Collected { named, .. } => {
                let mut state = self.state();
                state.emptied.iter_mut().zip(*named).for_each(|(emptied, named)| {
                    emptied.subtract(named);
                });
            }
            // At the stop itself the judge looks.
            ReplicationEvent::Round(round) if self.balloon && round.kind != RoundKind::Final => {
                self.look()
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
