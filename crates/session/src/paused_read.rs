//! A QEMU's guest that is paused: its memory is read once, so that it is not paused for long.

use crate::bounded::PauseBound;
use crate::discards::DiscardWatch;
use crate::findings::JudgeError;
use memtwin_pages::{Image, Layout, PageSet, PageSize, RegionId};
use memtwin_qemu::BlockMemory;
use memtwin_replicate::{Observer, PausedGuest, Sink, Source};
use memtwin_verdict::{Captured, CompareError, Comparison, Overlay, Side, capture};
use std::collections::BTreeMap;

/// What was read of a region: its twin, overlaid with the pages that differ from it.
pub(crate) struct PausedRead<'t, T> {
    pub(crate) memory: Overlay<'t, T>,
    /// The round in which each page that differs last came.
    pub(crate) last_round: BTreeMap<u64, u32>,
    pub(crate) never_sent: PageSet,
    /// The pages that the guest gave up: they are not judged. Those that QEMU never sent and that have
    /// no memory are among them.
    pub(crate) discarded: PageSet,
    /// Whether a page that reads as zero may be one that was given up unseen.
    may_miss: bool,
}

/// The same without its twin, which may change its owner meanwhile.
pub(crate) struct DetachedRead {
    pages: BTreeMap<u64, Box<[u8]>>,
    last_round: BTreeMap<u64, u32>,
    never_sent: PageSet,
    discarded: PageSet,
    may_miss: bool,
}

/// A region as its guest is paused, beside its memory: what the guest gave up, what QEMU did not send,
/// and when a page last came.
pub(crate) struct PausedRegion<'r, F> {
    pub(crate) id: RegionId,
    pub(crate) page_size: PageSize,
    /// What came after the last round, if that was not told the watch yet.
    pub(crate) came: Option<&'r PageSet>,
    /// Pages that are not in the twin.
    pub(crate) never_sent: &'r PageSet,
    pub(crate) last_round: F,
}

impl<'t, T: Image> PausedRead<'t, T> {
    /// Reads a region once, and keeps what is not in the twin; reading ends at the bound.
    ///
    /// Errors: one of the sides can't be read, or not in time.
    pub(crate) fn of(
        (memory, bound): (&BlockMemory, &PauseBound),
        twin: &'t T,
        discards: &DiscardWatch<'_>,
        region: &PausedRegion<'_, impl Fn(u64) -> u32>,
    ) -> Result<Self, CompareError> {
        // Before the first byte is read: that may allot memory.
        let known = discards.at_stop(region.id, region.came);
        let Captured { memory, mut discarded } =
            capture(&bound.over(memory), twin, region.page_size, &known)?;
        let mut neither = region.never_sent.clone();
        neither.intersect_with(known.absent());
        discarded.union_with(&neither);
        let last_round =
            memory.pages().map(|(page, _)| (page, (region.last_round)(page))).collect();
        let (never_sent, may_miss) = (region.never_sent.clone(), discards.may_miss());
        Ok(Self { memory, last_round, never_sent, discarded, may_miss })
    }

    /// Reads these pages of a region once, and keeps what is not in the twin; the others count as equal.
    ///
    /// Errors: one of the sides can't be read, or not in time.
    pub(crate) fn of_pages(
        (memory, bound): (&BlockMemory, &PauseBound),
        twin: &'t T,
        discards: &DiscardWatch<'_>,
        region: &PausedRegion<'_, impl Fn(u64) -> u32>,
        pages: &PageSet,
    ) -> Result<Self, CompareError> {
        // Before the first byte is read: that may allot memory.
        let known = discards.at_stop_of(region.id, pages);
        let memory = bound.over(memory);
        let mut discarded = PageSet::new(pages.capacity());
        let mut differing = BTreeMap::new();
        let mut scratch = Vec::new();
        for page in pages {
            let offset = region.page_size.offset_of(page);
            let len = region.page_size.as_usize();
            let failed = |side| move |cause| CompareError::Read { side, offset, len, cause };
            let mut bytes = vec![0; len].into_boxed_slice();
            if !known.is_absent(page) {
                memory.read_at(offset, &mut bytes).map_err(failed(Side::Memory))?;
            }
            if twin.is_at(offset, &bytes, &mut scratch).map_err(failed(Side::Twin))? {
                continue;
            }
            if known.emptied(page) && bytes.iter().all(|byte| *byte == 0) {
                discarded.insert(page);
            } else {
                differing.insert(page, bytes);
            }
        }
        let last_round = differing.keys().map(|&page| (page, (region.last_round)(page))).collect();
        let memory = Overlay::new(twin, region.page_size, differing)
            .map_err(|cause| CompareError::Size { side: Side::Memory, cause })?;
        let (never_sent, may_miss) = (region.never_sent.clone(), discards.may_miss());
        Ok(Self { memory, last_round, never_sent, discarded, may_miss })
    }

    /// The pages that differ, in order.
    pub(crate) fn differing(&self) -> Vec<u64> {
        self.memory.pages().map(|(page, _)| page).collect()
    }

    /// Without its twin.
    pub(crate) fn into_parts(self) -> DetachedRead {
        let Self { memory, last_round, never_sent, discarded, may_miss } = self;
        DetachedRead { pages: memory.into_pages(), last_round, never_sent, discarded, may_miss }
    }

    /// With the same twin again, unchanged.
    ///
    /// Errors: it does not say its length.
    pub(crate) fn from_parts(
        parts: DetachedRead,
        twin: &'t T,
        page_size: PageSize,
    ) -> Result<Self, CompareError> {
        let DetachedRead { pages, last_round, never_sent, discarded, may_miss } = parts;
        let memory = Overlay::new(twin, page_size, pages)
            .map_err(|cause| CompareError::Size { side: Side::Memory, cause })?;
        Ok(Self { memory, last_round, never_sent, discarded, may_miss })
    }

    /// Whether it can't be told if this page, which differs, was lost by the log or given up by the
    /// guest: it reads as zero.
    pub(crate) fn is_unclear(&self, page: u64) -> bool {
        let zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        self.may_miss && self.memory.page(page).is_some_and(zero)
    }

    /// Takes the pages out of a comparison that can't be called lost, and says why there is no verdict
    /// then. What else differs stays: a loss is one whatever else there is.
    pub(crate) fn set_aside(&self, comparison: &mut Comparison, block: &str) -> Option<String> {
        let before = comparison.differing.len();
        comparison.differing.retain(|found| !self.never_sent.contains(found.page));
        let sent = comparison.differing.len();
        comparison.differing.retain(|found| !self.is_unclear(found.page));
        if sent < before {
            return Some(format!(
                "RAMBlock {block}: pages differ that QEMU never sent: discarded memory?"
            ));
        }
        let pages = (sent - comparison.differing.len()) as u64;
        (pages > 0).then(|| format!("RAMBlock {block}: {}", unclear(pages)))
    }
}

/// Reads all memory once, and keeps what is not in the twin. `memories` and `parts` of the twin are
/// in the order of the layout; reading ends at the bound.
///
/// Errors: one of the sides can't be read, the bound came first, or the guest ran meanwhile.
pub(crate) fn read_all<'t, T: Image, S: Source, K: Sink, O: Observer>(
    paused: &mut PausedGuest<'_, S, K, O>,
    layout: &Layout,
    memories: &[BlockMemory],
    parts: &'t [T],
    (discards, bound): (&DiscardWatch<'_>, &PauseBound),
) -> Result<Vec<PausedRead<'t, T>>, JudgeError> {
    let sides = memories.iter().zip(parts).zip(layout.iter());
    paused.compare(|paused| {
        sides
            .map(|((memory, twin), (id, region))| {
                let region = PausedRegion {
                    id,
                    page_size: region.page_size(),
                    came: None,
                    never_sent: paused.never_sent(id),
                    last_round: |page| paused.last_round(id, page),
                };
                Ok(PausedRead::of((memory, bound), twin, discards, &region)?)
            })
            .collect()
    })?
}

/// Why there is no verdict where this many pages are [unclear](PausedRead::is_unclear).
pub(crate) fn unclear(pages: u64) -> String {
    format!(
        "{pages} pages differ that read as zero now: lost by the log, or given up by the guest's balloon \
         between two rounds; more rounds a second show which, or the balloon left alone meanwhile"
    )
}
