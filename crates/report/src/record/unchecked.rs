//! A case as it was read, before it is believed.

use super::case::{Case, ControlResult, RegionEntry, Verdict};
use super::rounds::is_exercised;
use super::{
    GuestSum, HypervisorFacts, JudgeFacts, JudgeKind, LostPage, PageAt, RegionDigests, RoundEntry,
};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// The fields of a case, which may contradict each other.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Unchecked {
    name: String,
    source: String,
    verdict: Verdict,
    reason: Option<String>,
    page_size: u64,
    regions: Vec<RegionEntry>,
    rounds: Vec<RoundEntry>,
    lost_pages: u64,
    lost: Vec<LostPage>,
    /// Absent from records of before there was such a thing.
    #[serde(default)]
    discarded_pages: u64,
    digest: BTreeMap<String, RegionDigests>,
    control: Option<ControlResult>,
    passed: bool,
    #[serde(default)]
    exercised: Option<bool>,
    #[serde(default)]
    guest_sum: Option<GuestSum>,
    #[serde(default)]
    guest_pause_us: Option<u64>,
    #[serde(default)]
    judge: Option<JudgeFacts>,
    #[serde(default)]
    hypervisor: Option<HypervisorFacts>,
}

/// What a case says that can't be, given the rest of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("case {case}: {what}; the record was altered or cut")]
pub struct Contradiction {
    /// The case's name.
    pub case: String,
    /// What contradicts what.
    pub what: String,
}

impl TryFrom<Unchecked> for Case {
    type Error = Contradiction;

    fn try_from(read: Unchecked) -> Result<Self, Contradiction> {
        if let Some(what) = read.contradiction() {
            return Err(Contradiction { case: read.name, what });
        }
        Ok(Self {
            name: read.name,
            source: read.source,
            verdict: read.verdict,
            reason: read.reason,
            page_size: read.page_size,
            regions: read.regions,
            rounds: read.rounds,
            lost_pages: read.lost_pages,
            lost: read.lost,
            discarded_pages: read.discarded_pages,
            digest: read.digest,
            control: read.control,
            passed: read.passed,
            exercised: read.exercised,
            guest_sum: read.guest_sum,
            guest_pause_us: read.guest_pause_us,
            judge: read.judge,
            hypervisor: read.hypervisor,
        })
    }
}

impl Unchecked {
    fn contradiction(&self) -> Option<String> {
        let verdict = self.verdict;
        let listed = self.lost.len() as u64;
        if self.lost_pages != listed {
            return Some(format!("lost_pages is {}, but {listed} are listed", self.lost_pages));
        }
        if let Some(control) = &self.control {
            let lost: BTreeSet<PageAt> = self.lost.iter().map(LostPage::at).collect();
            if control.found != lost {
                return Some("the pages that the control found are not the lost ones".to_owned());
            }
        }
        let pages = |bytes: u64| bytes.checked_div(self.page_size).unwrap_or(0);
        let odd = |region: &&RegionEntry| {
            region.heat.as_ref().is_some_and(|heat| !heat.fits(pages(region.bytes)))
        };
        if let Some(region) = self.regions.iter().find(odd) {
            return Some(format!(
                "the heat of region {} has not the buckets of its pages",
                region.name
            ));
        }
        // A guest that was judged while it ran has no digests: its sweeps are what was compared.
        let is_running = |judge: &JudgeFacts| judge.kind == JudgeKind::Running;
        let unswept = self.judge.filter(is_running).is_some_and(|judge| judge.sweeps == 0);
        if unswept && verdict == Verdict::Identical {
            return Some("it is identical and was never read".to_owned());
        }
        let agree = self.digest.values().all(RegionDigests::agree);
        let possible = match verdict {
            Verdict::Identical => listed == 0 && agree,
            Verdict::Differs => listed > 0 || self.reason.is_some(),
            Verdict::Inconclusive => {
                // A page that is lost and was not injected is a verdict.
                let injected = self.control.as_ref().map(|control| &control.injected);
                let explained = |page| injected.is_some_and(|injected| injected.contains(&page));
                self.reason.is_some() && self.lost.iter().map(LostPage::at).all(explained)
            }
            // What ran may still have had nothing to judge, but a loss is never skipped.
            Verdict::Skipped => self.reason.is_some() && listed == 0 && self.control.is_none(),
        };
        if !possible {
            return Some(format!("the verdict {verdict} contradicts what was found"));
        }
        let named = is_exercised(&self.rounds);
        if self.exercised.is_some_and(|exercised| exercised != named) {
            return Some(format!("exercised is {}, expected {named} by its rounds", !named));
        }
        let passed = Case::success(verdict, self.control.as_ref());
        (self.passed != passed).then(|| format!("passed is {}, expected {passed}", self.passed))
    }
}
