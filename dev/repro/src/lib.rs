//! Runs a scenario of [`memtwin_bare`]: starts its guest in a QEMU, waits until it is at work by its
//! own account, has it audited by the built `memtwin`, and judges the audit's record by what is known
//! of that QEMU. `cargo xtask repro`, `cargo xtask soak audit` and the tests of the findings all do it
//! with this.
//!
//! [`MoveRun`] moves the guest to another QEMU instead, and compares what both have: what an audit says is
//! lost has to be missing there.
//!
//! What counts is the set of lost pages, not an exit code: a finding is confirmed if exactly the pages
//! were lost that its bug explains, and a layout is sound if none was and the audit's own control was
//! found.

#![forbid(unsafe_code)]

mod facts;
mod flash_file;
mod guest;
mod judge;
mod moved;
mod outcome;
mod run;

pub use facts::{FactsError, QemuFacts};
pub use flash_file::FlashFile;
pub use guest::{GuestError, ScenarioGuest};
pub use judge::{ScenarioFindings, judge};
pub use moved::{MoveError, MoveEvidence, MoveRun, MovedBlock};
pub use outcome::ScenarioOutcome;
pub use run::{ReproCaller, ReproRun, RunError, RunEvidence};
