//! What comparisons have found, as a report names it.

use crate::read_twin::{ReadTwin, TwinReadError};
use memtwin_pages::{Layout, Region, RegionId};
use memtwin_replicate::{Observer, PausedGuest, ReadMemory, Source, SourceError};
use memtwin_report::record::{LostPage, RegionDigests};
use memtwin_verdict::{CompareError, Comparison, compare};
use std::collections::BTreeMap;

/// Why a judge could not look.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// The twin can't be read.
    #[error(transparent)]
    Twin(#[from] TwinReadError),
    /// One of the two can't be read to its end.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// The guest did not stay paused while it was compared.
    #[error(transparent)]
    Guest(#[from] SourceError),
}

/// What a judge has found so far. A loss once seen stays.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    lost: BTreeMap<(RegionId, u64), LostPage>,
    digests: BTreeMap<String, RegionDigests>,
}

impl Findings {
    /// Compares every page of every region of a paused guest. The twin is read, never repaired.
    ///
    /// Errors: one of the sides can't be read, or the guest ran meanwhile; nothing is known then of
    /// this stop.
    pub(crate) fn look<S: Source + ReadMemory, K: ReadTwin, O: Observer>(
        &mut self,
        paused: &mut PausedGuest<'_, S, K, O>,
    ) -> Result<(), JudgeError> {
        let layout = paused.layout().clone();
        // Entered only when it is known that the guest was paused all the while.
        let compared = paused.compare(|paused| compare_all(paused, &layout))??;
        for (comparison, (id, region)) in compared.iter().zip(layout.iter()) {
            self.enter(id, region, comparison, |page| paused.last_round(id, page));
        }
        Ok(())
    }

    /// Enters what a comparison of a region has found. `last_round` says when a page last went to the twin.
    pub(crate) fn enter(
        &mut self,
        id: RegionId,
        region: &Region,
        comparison: &Comparison,
        last_round: impl Fn(u64) -> u32,
    ) {
        for difference in &comparison.differing {
            self.lost.entry((id, difference.page)).or_insert_with(|| LostPage {
                last_round: last_round(difference.page),
                ..LostPage::of(region, difference)
            });
        }
        self.digests.insert(region.name().to_owned(), comparison.into());
    }

    /// Every lost page, in order.
    pub(crate) fn lost(&self) -> Vec<LostPage> {
        self.lost.values().cloned().collect()
    }

    /// The digests of the last look, by region.
    pub(crate) fn digests(&self) -> BTreeMap<String, RegionDigests> {
        self.digests.clone()
    }
}

/// Compares the regions of which there is a twin.
fn compare_all<S: Source + ReadMemory, K: ReadTwin, O: Observer>(
    paused: &mut PausedGuest<'_, S, K, O>,
    layout: &Layout,
) -> Result<Vec<Comparison>, JudgeError> {
    let mut compared = Vec::new();
    for (id, region) in layout.iter() {
        let memory = paused.source().memory(id);
        let Some(twin) = paused.sink().image(layout, id, &memory)? else { break };
        compared.push(compare(&memory, &*twin, region.page_size())?);
    }
    Ok(compared)
}
