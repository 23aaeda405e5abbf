//! A case while it runs: collects what is known of it, and ends as a [`Case`].

use super::case::{Case, ControlResult, RegionEntry, Verdict};
use super::rounds::is_exercised;
use super::{HeatMap, HypervisorFacts, JudgeFacts, LostPage, PageAt, RegionDigests, RoundEntry};
use crate::Recorder;
use memtwin_pages::{Layout, Region};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A case without its verdict.
///
/// The verdict is not given but follows: nobody can call a case identical that has lost a page.
#[derive(Clone, Debug)]
#[must_use = "a trial says nothing until it is judged"]
pub struct CaseBuilder {
    name: String,
    source: String,
    page_size: u64,
    regions: Vec<RegionEntry>,
    rounds: Vec<RoundEntry>,
    injected: Option<BTreeSet<PageAt>>,
    says_exercised: bool,
    discarded_pages: u64,
    hypervisor: Option<HypervisorFacts>,
    judge: Option<JudgeFacts>,
}

impl CaseBuilder {
    /// A case of this source. The layout is empty if the source never came to declare it.
    pub fn new(name: impl Into<String>, source: impl Into<String>, layout: &Layout) -> Self {
        let regions = layout.iter().map(|(_, region)| RegionEntry {
            name: region.name().to_owned(),
            gpa: region.gpa(),
            bytes: region.bytes(),
            heat: None,
        });
        // A source logs all its regions in the same unit; if one did not, its smallest counts.
        let sizes = layout.iter().map(|(_, region): (_, &Region)| region.page_size().bytes());
        Self {
            name: name.into(),
            source: source.into(),
            page_size: sizes.min().unwrap_or(0),
            regions: regions.collect(),
            rounds: Vec::new(),
            injected: None,
            says_exercised: false,
            discarded_pages: 0,
            hypervisor: None,
            judge: None,
        }
    }

    /// With these committed rounds.
    pub fn rounds<R: Into<RoundEntry>>(mut self, rounds: impl IntoIterator<Item = R>) -> Self {
        self.rounds.extend(rounds.into_iter().map(R::into));
        self
    }

    /// With where its pages were dirtied, by region in the order of the layout.
    pub fn heat<'h>(mut self, heat: impl IntoIterator<Item = &'h HeatMap>) -> Self {
        for (region, heat) in self.regions.iter_mut().zip(heat) {
            region.heat = Some(heat.clone());
        }
        self
    }

    /// With what was recorded of its rounds: what they came to, when they began, where their pages were.
    pub fn recorded(self, recorder: &Recorder) -> Self {
        self.rounds(recorder.entries()).heat(recorder.heat())
    }

    /// With what is known of the hypervisor that ran its guest.
    pub fn hypervisor(mut self, hypervisor: HypervisorFacts) -> Self {
        self.hypervisor = Some(hypervisor);
        self
    }

    /// With how it was judged.
    pub fn judged_by(mut self, judge: JudgeFacts) -> Self {
        self.judge = Some(judge);
        self
    }

    /// With this many pages that the guest gave up, and that were not judged.
    pub fn discarded(mut self, pages: u64) -> Self {
        self.discarded_pages = pages;
        self
    }

    /// As a control: the log was kept from naming these pages.
    pub fn control(mut self, injected: impl IntoIterator<Item = PageAt>) -> Self {
        self.injected = Some(injected.into_iter().collect());
        self
    }

    /// As one of several parts of a guest, of which some may not be written at all: the case says
    /// whether the log named a page of it after pre-copy.
    pub fn one_of_several(mut self) -> Self {
        self.says_exercised = true;
        self
    }

    /// Judged: every page was compared, while the guest stood still or in a sweep while it ran, and these are
    /// lost, now or at an earlier stop.
    ///
    /// Without a lost page the case is `identical`, unless the digests say otherwise: then the
    /// memory changed between the two passes, and it is `inconclusive`.
    pub fn judged(self, lost: Vec<LostPage>, digest: BTreeMap<String, RegionDigests>) -> Case {
        let torn = digest.iter().find(|(_, digests)| !digests.agree());
        let (verdict, reason) = match (lost.is_empty(), torn) {
            (false, _) => (Verdict::Differs, None),
            (true, None) => (Verdict::Identical, None),
            (true, Some((region, _))) => (
                Verdict::Inconclusive,
                Some(format!(
                    "region {region}: the digests differ but no page does: \
                     something wrote while it was compared"
                )),
            ),
        };
        self.end(verdict, reason, lost, digest)
    }

    /// Judged, and something differs that is no page: a disk, a guest's own account of itself.
    pub fn differs(self, reason: impl fmt::Display) -> Case {
        self.end(Verdict::Differs, Some(reason.to_string()), Vec::new(), BTreeMap::new())
    }

    /// Ran, but there was nothing to judge: a twin that was discarded.
    pub fn not_judged(self, reason: impl fmt::Display) -> Case {
        self.end(Verdict::Skipped, Some(reason.to_string()), Vec::new(), BTreeMap::new())
    }

    /// Something died before the verdict. `lost` holds the pages that an earlier stop had found
    /// lost, if there was one: a loss once seen stays, and if it was not injected the case
    /// `differs`.
    pub fn inconclusive(self, reason: impl fmt::Display, lost: Vec<LostPage>) -> Case {
        let injected = |page| self.injected.as_ref().is_some_and(|pages| pages.contains(&page));
        let verdict = match lost.iter().map(LostPage::at).all(injected) {
            true => Verdict::Inconclusive,
            false => Verdict::Differs,
        };
        self.end(verdict, Some(reason.to_string()), lost, BTreeMap::new())
    }

    fn end(
        self,
        verdict: Verdict,
        reason: Option<String>,
        lost: Vec<LostPage>,
        digest: BTreeMap<String, RegionDigests>,
    ) -> Case {
        let exercised = self.says_exercised.then(|| is_exercised(&self.rounds));
        let found = || lost.iter().map(LostPage::at).collect();
        let control = self.injected.map(|injected| ControlResult { injected, found: found() });
        Case {
            name: self.name,
            source: self.source,
            verdict,
            reason,
            page_size: self.page_size,
            regions: with_lost(self.regions, self.page_size, &lost),
            rounds: self.rounds,
            lost_pages: lost.len() as u64,
            lost,
            discarded_pages: self.discarded_pages,
            digest,
            passed: Case::success(verdict, control.as_ref()),
            control,
            exercised,
            guest_sum: None,
            guest_pause_us: None,
            judge: self.judge,
            hypervisor: self.hypervisor,
        }
    }
}

/// The regions, with the lost pages in their heat.
fn with_lost(mut regions: Vec<RegionEntry>, page_size: u64, lost: &[LostPage]) -> Vec<RegionEntry> {
    for region in &mut regions {
        let Some(heat) = &mut region.heat else { continue };
        for page in lost.iter().filter(|page| page.region == region.name) {
            let offset = page.gpa.0.checked_sub(region.gpa.0);
            if let Some(page) = offset.and_then(|offset| offset.checked_div(page_size)) {
                heat.add_lost(page);
            }
        }
    }
    regions
}
