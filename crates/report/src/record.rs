//! The run record: what a run did and found, as JSON. Schema version 1.
//!
//! Field names and types are a contract with whoever reads the file. A field may be added; none is
//! renamed, taken out or given another type without a new `schema_version`.

mod case;
mod digest;
mod guest_sum;
mod heat;
mod host;
mod hypervisor;
mod judge;
mod migration;
mod page;
mod provenance;
mod rounds;
mod schema;
#[cfg(test)]
mod schema_file;
mod sweep;
mod trial;
mod unchecked;

pub(crate) use case::total;
pub use case::{Case, CaseStanding, ControlResult, RegionEntry, Verdict};
pub use digest::{Blake3, RecordedDigest, RegionDigests};
pub use guest_sum::GuestSum;
pub use heat::{HeatMap, MAX_BUCKETS};
pub use host::{HostFacts, KvmFacts};
pub use hypervisor::HypervisorFacts;
pub use judge::{JudgeFacts, JudgeKind};
pub use migration::{Clock, LoadEntry, Migration, MigrationRound};
pub use page::{Detail, LostPage, PageAt};
pub use provenance::{ResolvedOptions, RunProvenance, rfc3339};
pub use rounds::{RecordedKind, RoundEntry};
pub use schema::SchemaVersion;
pub use sweep::{
    Achieved, CurvePoint, Observed, Predicted, Smallest, Sweep, SweepCell, SweepLoad, Unloaded,
};
pub use trial::CaseBuilder;
pub use unchecked::Contradiction;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A run: where it took place, and what each of its cases came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RunRecord {
    /// Always [`SchemaVersion`]'s number; a record with another one is not read.
    #[cfg_attr(test, schemars(with = "u32", range(min = 1, max = 1)))]
    pub schema_version: SchemaVersion,
    /// The subcommand that ran: `check`, `replicate`, …
    pub command: String,
    /// Memtwin's version.
    pub version: String,
    /// How it came about: when, with which options, by which build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<RunProvenance>,
    /// The machine that it ran on; the first of `boards`, if there are any.
    pub host: HostFacts,
    /// Of a run on several machines: each by the word that follows `/host=` in its cases' names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub boards: BTreeMap<String, HostFacts>,
    /// How each run on another machine came about there, in the order of the runs: by the machine's word
    /// in the cases' names, or else by its name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub remote_runs: BTreeMap<String, Vec<RunProvenance>>,
    /// The cases, in the order in which they ran.
    pub cases: Vec<Case>,
    /// What the run has to say beside its cases, a line each, as a person reads it above the table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// How a guest moved, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<Migration>,
    /// How it moved under other loads and over other links, if that was swept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<Sweep>,
}

impl RunRecord {
    /// The record of a run of this version of Memtwin on this machine.
    pub fn new(command: impl Into<String>, cases: Vec<Case>) -> Self {
        Self {
            schema_version: SchemaVersion,
            command: command.into(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            provenance: None,
            host: HostFacts::this_machine(),
            boards: BTreeMap::new(),
            remote_runs: BTreeMap::new(),
            cases,
            notes: Vec::new(),
            migration: None,
            sweep: None,
        }
    }

    /// The same record with these notes after its own.
    #[must_use]
    pub fn with_notes(mut self, notes: impl IntoIterator<Item = String>) -> Self {
        self.notes.extend(notes);
        self
    }

    /// Whether its cases say on which host they ran, so that a matrix can be drawn of them.
    pub fn has_matrix(&self) -> bool {
        self.cases.iter().any(|case| case.name().contains("/host="))
    }

    /// Whether there were KVM cases and every one of them was skipped: whatever else passed, the
    /// dirty log of KVM was not tested, and the reader must be told.
    pub fn kvm_not_tested(&self) -> bool {
        let mut kvm = self.cases.iter().filter(|case| case.name().starts_with("kvm/")).peekable();
        kvm.peek().is_some() && kvm.all(|case| case.verdict() == Verdict::Skipped)
    }
}
