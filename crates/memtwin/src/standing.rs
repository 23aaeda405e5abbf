//! A QEMU's guest that stands still: its memory is read once, so that it need not for long.

use crate::discards::DiscardWatch;
use memtwin_pages::{Layout, PageSet, Region, RegionId};
use memtwin_qemu::BlockMemory;
use memtwin_replicate::{Observer, Sink, Source, Still};
use memtwin_verdict::{Captured, CompareError, Comparison, Image, Overlay, capture};
use std::collections::BTreeMap;

/// What was read of a region: its twin, overlaid with the pages that differ from it.
pub(crate) struct Read<'t, T> {
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

impl<'t, T: Image> Read<'t, T> {
    /// Reads a region once, and keeps what is not in the twin. `never_sent`: pages that are not in the
    /// twin, as QEMU did not send them; `last_round` says when a page last went there.
    ///
    /// Errors: one of the sides can't be read.
    pub(crate) fn of(
        memory: &BlockMemory,
        twin: &'t T,
        (id, region): (RegionId, &Region),
        discards: &DiscardWatch<'_>,
        never_sent: &PageSet,
        last_round: impl Fn(u64) -> u32,
    ) -> Result<Self, CompareError> {
        // Before the first byte is read: that may allot memory.
        let known = discards.at_stop(id);
        let Captured { memory, mut discarded } = capture(memory, twin, region.page_size(), &known)?;
        let mut neither = never_sent.clone();
        neither.intersect_with(known.absent());
        discarded.union_with(&neither);
        let last_round = memory.pages().map(|(page, _)| (page, last_round(page))).collect();
        let (never_sent, may_miss) = (never_sent.clone(), discards.may_miss());
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
/// in the order of the layout.
///
/// Errors: one of the sides can't be read.
pub(crate) fn read<'t, T: Image, S: Source, K: Sink, O: Observer>(
    still: &Still<'_, S, K, O>,
    layout: &Layout,
    memories: &[BlockMemory],
    parts: &'t [T],
    discards: &DiscardWatch<'_>,
) -> Result<Vec<Read<'t, T>>, CompareError> {
    let sides = memories.iter().zip(parts).zip(layout.iter());
    sides
        .map(|((memory, twin), (id, region))| {
            let last_round = |page| still.last_round(id, page);
            let never_sent = still.never_sent(id);
            Read::of(memory, twin, (id, region), discards, never_sent, last_round)
        })
        .collect()
}

/// Why there is no verdict where so many pages are [unclear](Read::is_unclear).
pub(crate) fn unclear(pages: u64) -> String {
    format!(
        "{pages} pages differ that read as zero now: lost by the log, or given up by the guest's balloon \
         between two rounds; more rounds a second show which, or the balloon left alone meanwhile"
    )
}
