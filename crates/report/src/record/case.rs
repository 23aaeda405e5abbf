//! A case: one source, one way of running it, one verdict.

use super::page::{LostPage, PageAt, hex_gpa};
use super::{GuestSum, HeatMap, HypervisorFacts, JudgeFacts, RegionDigests, RoundEntry};
use memtwin_pages::Gpa;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// What a comparison came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Memory and twin are the same, byte for byte.
    Identical,
    /// They are not.
    Differs,
    /// Something died on the way: never a pass.
    Inconclusive,
    /// It did not run.
    Skipped,
}

impl Verdict {
    /// Its name, as in the record.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identical => "identical",
            Self::Differs => "differs",
            Self::Inconclusive => "inconclusive",
            Self::Skipped => "skipped",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a case means for the run: the verdict, read in the light of what the case was there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaseStanding {
    /// `identical`; of a control: what was injected was found, and nothing else.
    Passed,
    /// `differs`; of a control: something else was found.
    Failed,
    /// There is no verdict.
    Inconclusive,
    /// It did not run.
    Skipped,
}

/// A region of a case's source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RegionEntry {
    /// The name of the region entry.
    pub name: String,
    /// Where it begins.
    #[serde(with = "hex_gpa")]
    #[cfg_attr(test, schemars(with = "String", regex(pattern = "^0x[0-9a-f]{1,16}$")))]
    pub gpa: Gpa,
    /// How many bytes it has.
    pub bytes: u64,
    /// Where in it pages were dirtied and lost; absent where no log was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heat: Option<HeatMap>,
}

/// What was injected on purpose, and what the judge, who was not told, found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ControlResult {
    /// The pages that were suppressed.
    pub injected: BTreeSet<PageAt>,
    /// The pages that were seen to be lost.
    pub found: BTreeSet<PageAt>,
}

impl ControlResult {
    /// Whether the check has shown that it can fail: something was injected, and exactly that was
    /// found.
    pub fn proves(&self) -> bool {
        !self.injected.is_empty() && self.found == self.injected
    }

    /// How many of the injected pages were found.
    pub fn hits(&self) -> usize {
        self.injected.intersection(&self.found).count()
    }
}

/// A case of a run.
///
/// Made by [`Case::skipped`] or a [`CaseBuilder`](super::CaseBuilder), or read from a record that does not
/// contradict itself: `lost_pages`, `found` and `passed` always follow from the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(description = "A case: one source, one way of running it, one verdict."))]
#[serde(try_from = "super::unchecked::Unchecked")]
pub struct Case {
    /// `SOURCE/MODE/BACKING/vcpus=N/STRESSOR` and the like (docs/record.md); a control's ends in `/control`.
    pub(super) name: String,
    /// `kvm`, `process`, `file`, `qemu:` and its monitor's address, `libvirt:DOMAIN[@URI]`.
    pub(super) source: String,
    /// What the comparison came to.
    pub(super) verdict: Verdict,
    /// Why, where the verdict alone does not say it.
    pub(super) reason: Option<String>,
    /// In bytes; 0 if the source never opened.
    pub(super) page_size: u64,
    /// The regions of its guest's memory.
    pub(super) regions: Vec<RegionEntry>,
    /// The committed rounds, in order.
    pub(super) rounds: Vec<RoundEntry>,
    /// How many pages are lost.
    pub(super) lost_pages: u64,
    /// Every lost page.
    pub(super) lost: Vec<LostPage>,
    /// How many pages the guest gave up: not judged, and not among the lost ones.
    pub(super) discarded_pages: u64,
    /// By region: of the memory and of its twin.
    pub(super) digest: BTreeMap<String, RegionDigests>,
    /// Of a control: what was injected, and what was found.
    pub(super) control: Option<ControlResult>,
    /// `identical`, or for a control that what was found is what was injected.
    pub(super) passed: bool,
    /// Whether the log named a page after pre-copy, where that is asked of this case alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exercised: Option<bool>,
    /// What a program inside the guest found its memory to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) guest_sum: Option<GuestSum>,
    /// The longest time, in microseconds, that a guest which ran stood still for Memtwin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) guest_pause_us: Option<u64>,
    /// How it was judged, where that was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) judge: Option<JudgeFacts>,
    /// The hypervisor that ran its guest; absent where there is none, or it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hypervisor: Option<HypervisorFacts>,
}

impl Case {
    /// A case that did not run, and why. Its page size is 0: no source declared one.
    pub fn skipped(
        name: impl Into<String>,
        source: impl Into<String>,
        reason: impl fmt::Display,
    ) -> Self {
        Self {
            name: name.into(),
            source: source.into(),
            verdict: Verdict::Skipped,
            reason: Some(reason.to_string()),
            page_size: 0,
            regions: Vec::new(),
            rounds: Vec::new(),
            lost_pages: 0,
            lost: Vec::new(),
            discarded_pages: 0,
            digest: BTreeMap::new(),
            control: None,
            passed: false,
            exercised: None,
            guest_sum: None,
            guest_pause_us: None,
            judge: None,
            hypervisor: None,
        }
    }

    /// The same case under another name: of a run on several machines each says where it ran.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// The same case with what a program inside the guest found.
    #[must_use]
    pub fn with_guest_sum(self, guest_sum: Option<GuestSum>) -> Self {
        Self { guest_sum, ..self }
    }

    /// The same case with the longest time that its guest stood still for us, of one that ran.
    #[must_use]
    pub fn with_guest_pause(self, pause: Option<Duration>) -> Self {
        let micros = |pause: Duration| u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
        Self { guest_pause_us: pause.map(micros), ..self }
    }

    /// The same case with what is known of the hypervisor that ran its guest.
    #[must_use]
    pub fn with_hypervisor(self, hypervisor: Option<HypervisorFacts>) -> Self {
        Self { hypervisor, ..self }
    }

    /// How it was judged, where that was chosen.
    pub fn judge(&self) -> Option<&JudgeFacts> {
        self.judge.as_ref()
    }

    /// What is known of the hypervisor that ran its guest.
    pub fn hypervisor(&self) -> Option<&HypervisorFacts> {
        self.hypervisor.as_ref()
    }

    /// Its name, as `kvm/get/shm/vcpus=1/random`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its source, as `kvm`, `process`, `qemu:SOCKET`.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What the comparison came to.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Why there is no verdict, or what there is to say beside it.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The size of a page in bytes; 0 if the source never came to declare it.
    pub fn page_size(&self) -> u64 {
        self.page_size
    }

    /// The regions of the source.
    pub fn regions(&self) -> &[RegionEntry] {
        &self.regions
    }

    /// The committed rounds, in order.
    pub fn rounds(&self) -> &[RoundEntry] {
        &self.rounds
    }

    /// Every lost page.
    pub fn lost(&self) -> &[LostPage] {
        &self.lost
    }

    /// How many pages the guest gave up, so that they were not judged. They are not among the lost.
    pub fn discarded_pages(&self) -> u64 {
        self.discarded_pages
    }

    /// The digests, by region.
    pub fn digest(&self) -> &BTreeMap<String, RegionDigests> {
        &self.digest
    }

    /// What a program inside the guest found its memory to be, if one was asked.
    pub fn guest_sum(&self) -> Option<GuestSum> {
        self.guest_sum
    }

    /// The longest time that its guest stood still for us, if it is known.
    pub fn guest_pause(&self) -> Option<Duration> {
        self.guest_pause_us.map(Duration::from_micros)
    }

    /// What was injected and found, if the case is a control and ran.
    pub fn control(&self) -> Option<&ControlResult> {
        self.control.as_ref()
    }

    /// Whether the case is a success: `identical`, or a control that [proves](ControlResult::proves)
    /// what it is there for.
    pub fn passed(&self) -> bool {
        self.passed
    }

    /// Whether the log named a page of it after pre-copy, where that was asked of this case alone: one
    /// that was not was compared, and its log was not put to the test.
    pub fn exercised(&self) -> Option<bool> {
        self.exercised
    }

    /// Whether it is known that the log was not put to the test.
    pub fn is_idle(&self) -> bool {
        self.exercised == Some(false)
    }

    /// What the case means for the run.
    pub fn standing(&self) -> CaseStanding {
        match self.verdict {
            Verdict::Skipped => CaseStanding::Skipped,
            Verdict::Inconclusive => CaseStanding::Inconclusive,
            Verdict::Identical | Verdict::Differs if self.passed => CaseStanding::Passed,
            Verdict::Identical | Verdict::Differs => CaseStanding::Failed,
        }
    }

    /// How many pages the log named, in all rounds together.
    pub fn dirty_pages(&self) -> u64 {
        total(self.rounds.iter().map(|round| round.dirty_pages))
    }

    /// How long the rounds took, all together; what was slept between them is not in it.
    pub fn time_in_rounds(&self) -> Duration {
        Duration::from_micros(total(self.rounds.iter().map(|round| round.total_us)))
    }

    /// The lost pages that nobody injected: all, unless the case is a control.
    pub fn unexplained(&self) -> impl Iterator<Item = &LostPage> {
        let injected = self.control.as_ref().map(|control| &control.injected);
        self.lost
            .iter()
            .filter(move |lost| injected.is_none_or(|injected| !injected.contains(&lost.at())))
    }

    /// The injected pages that were not found: none, unless the case is a control.
    pub fn missed(&self) -> impl Iterator<Item = &PageAt> {
        self.control.iter().flat_map(|control| control.injected.difference(&control.found))
    }

    /// The number of a page in its region. Nothing if the record does not know the region, or the
    /// page does not lie in it.
    pub fn page_number(&self, region: &str, gpa: Gpa) -> Option<u64> {
        let region = self.regions.iter().find(|entry| entry.name == region)?;
        let offset = gpa.0.checked_sub(region.gpa.0).filter(|&offset| offset < region.bytes)?;
        offset.checked_div(self.page_size)
    }

    /// Whether the verdict and the control make the case a success.
    pub(super) fn success(verdict: Verdict, control: Option<&ControlResult>) -> bool {
        match (verdict, control) {
            (Verdict::Identical, None) => true,
            (Verdict::Differs, Some(control)) => control.proves(),
            _ => false,
        }
    }
}

/// A sum that holds at the top: a record that was read may hold any number.
pub(crate) fn total(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}
