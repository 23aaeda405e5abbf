//! A QEMU's guest that stands still: its memory is read once, so that it need not for long.

use crate::bounded::PauseBound;
use crate::judge::JudgeError;
use memtwin_pages::{Layout, PageSet};
use memtwin_qemu::BlockMemory;
use memtwin_replicate::{Observer, Sink, Source, Still};
use memtwin_verdict::{Image, Overlay, capture};
use std::collections::BTreeMap;

/// What was read of a region: its twin, overlaid with the pages that differ from it.
pub(crate) struct Read<'t, T> {
    pub(crate) memory: Overlay<'t, T>,
    /// The round in which each page that differs last came.
    pub(crate) last_round: BTreeMap<u64, u32>,
    pub(crate) never_sent: PageSet,
}

/// Reads all memory once, and keeps what is not in the twin. `memories` and `parts` of the twin are
/// in the order of the layout; reading ends at the bound.
///
/// Errors: one of the sides can't be read, the bound came first, or the guest ran meanwhile.
pub(crate) fn read<'t, T: Image, S: Source, K: Sink, O: Observer>(
    still: &mut Still<'_, S, K, O>,
    layout: &Layout,
    memories: &[BlockMemory],
    parts: &'t [T],
    bound: &PauseBound,
) -> Result<Vec<Read<'t, T>>, JudgeError> {
    let sides = memories.iter().zip(parts).zip(layout.iter());
    still.compare(|still| {
        sides
            .map(|((memory, twin), (id, region))| {
                let memory = capture(&bound.over(memory), twin, region.page_size())?;
                let last_round =
                    memory.pages().map(|(page, _)| (page, still.last_round(id, page))).collect();
                Ok(Read { memory, last_round, never_sent: still.never_sent(id).clone() })
            })
            .collect()
    })?
}
