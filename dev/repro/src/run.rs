//! A scenario's run: guest, audit, judgement.

use crate::guest::{GuestError, ScenarioGuest};
use crate::judge::{ScenarioFindings, judge};
use memtwin_bare::{BareMachine, Expected, GuestJob, ReleaseVersion, Report};
use memtwin_qemu::MemoryError;
use memtwin_report::RunRecord;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What is run, and how.
#[derive(Debug)]
pub struct ReproRun<'r> {
    /// The scenario's machine, perhaps with another QEMU.
    pub machine: BareMachine,
    /// What is known of that QEMU.
    pub expected: Expected,
    /// The built program.
    pub memtwin: &'r Path,
    /// How long an audit follows the guest.
    pub time: Duration,
    /// Passed on to QEMU.
    pub arguments: &'r [String],
    /// Passed on to the audit.
    pub audit: &'r [&'r str],
    /// Where the audit's record is written.
    pub record: &'r Path,
}

/// What came of a run.
#[derive(Debug)]
pub struct RunEvidence {
    /// What was found.
    pub found: ScenarioFindings,
    /// What the guest told before the audit, and after it if it was still there.
    pub told: (Report, Option<Report>),
}

/// Why a run shows nothing.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There was no guest.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// Its report can't be read.
    #[error(transparent)]
    Report(#[from] MemoryError),
    /// The audit was not run to its end.
    #[error("the audit: {0}")]
    Audit(String),
    /// It left no record.
    #[error("{path}: {error}; memtwin audit left no record: {said}")]
    NoRecord {
        /// Where it should be.
        path: PathBuf,
        /// What is wrong with it.
        error: io::Error,
        /// What the audit said.
        said: String,
    },
    /// The guest did nothing meanwhile.
    #[error("the guest did not do its job during an audit of {} s: {told:?}", time.as_secs())]
    Idle {
        /// How long the last audit was.
        time: Duration,
        /// What the guest told before it and after it.
        told: Box<(Report, Report)>,
    },
}

/// Who has it run: what differs between a developer's command and a test.
pub trait ReproCaller {
    /// This command is about to be run.
    fn announce(&mut self, command: &Command);

    /// Runs it to its end, whatever its exit code; what it said on standard error.
    ///
    /// Errors: it did not come to its end in this time.
    fn complete(&mut self, command: &mut Command, limit: Duration) -> Result<String, String>;

    /// Whether to go on waiting.
    fn go_on(&self) -> bool;
}

/// How often a longer audit is tried if the guest did not come to its job: a reset takes its
/// firmware's time.
const TRIES: u32 = 3;

/// In how many audits a bug shows that does not show in each.
const CHANCES: u32 = 12;

/// What an audit may take beyond its seconds.
const MARGIN: Duration = Duration::from_secs(120);

/// How long a QEMU that has broken off an audit may take to be seen to have died: it dumps its core.
const DYING: Duration = Duration::from_secs(10);

impl ReproRun<'_> {
    /// Runs it.
    ///
    /// Errors: it shows nothing; [`ScenarioOutcome`](crate::ScenarioOutcome) knows those that are no
    /// failure.
    pub fn run(&self, caller: &mut impl ReproCaller) -> Result<RunEvidence, RunError> {
        let mut guest = ScenarioGuest::start(self.machine.clone(), self.arguments, caller)?;
        let mut time = self.time;
        let mut tries = 1;
        loop {
            let before = guest.wait(caller)?;
            let Some(found) = self.audit(&mut guest, time, caller)? else {
                return Ok(RunEvidence { found: self.died(&mut guest)?, told: (before, None) });
            };
            let after = guest.report()?;
            let is_missing = !found.lost && found.no_verdict.is_none();
            if self.is_by_chance() && is_missing && tries < CHANCES {
                tries += 1;
                continue;
            }
            // What is lost was written; a reset's firmware may not be back yet to let the guest say so.
            let shows = found.lost || self.machine.job.has_worked(&before, &after);
            if shows || !found.as_expected() {
                return Ok(RunEvidence { found, told: (before, Some(after)) });
            }
            if tries >= TRIES {
                return Err(RunError::Idle { time, told: Box::new((before, after)) });
            }
            tries += 1;
            time *= 2;
        }
    }

    fn is_by_chance(&self) -> bool {
        matches!(&self.expected, Expected::Lost(loss) if loss.by_chance)
    }

    /// An audit. Nothing if QEMU died.
    fn audit(
        &self,
        guest: &mut ScenarioGuest,
        time: Duration,
        caller: &mut impl ReproCaller,
    ) -> Result<Option<ScenarioFindings>, RunError> {
        // One of an earlier run must not pass for this one's.
        let _ = fs::remove_file(self.record);
        let mut command = Command::new(self.memtwin);
        command.arg("audit").arg(guest.qmp()).args(["--seconds", &time.as_secs().to_string()]);
        // The guest is ours: that a busy machine takes its time is no matter, nor that QEMU may abort.
        command.args(["--force", "--max-pause", "1m", "--quiet", "--json"]).arg(self.record);
        command.args(self.audit);
        caller.announce(&command);
        let said = caller.complete(&mut command, time + MARGIN).map_err(RunError::Audit)?;
        let found = self.judged();
        // A QEMU that died leaves the audit nothing but `inconclusive`, or no record.
        let strange = found
            .as_ref()
            .map_or(true, |found| !found.lost && !found.as_expected() && !self.is_by_chance());
        if guest.has_died(if strange { DYING } else { Duration::ZERO })? {
            return Ok(None);
        }
        let path = self.record.to_owned();
        found.map(Some).map_err(|error| RunError::NoRecord { path, error, said })
    }

    fn judged(&self) -> io::Result<ScenarioFindings> {
        let record: RunRecord = serde_json::from_slice(&fs::read(self.record)?)?;
        let gives_addresses = self.machine.version().is_ok_and(ReleaseVersion::gives_addresses);
        let idle = self.machine.job == GuestJob::Idle;
        Ok(judge(&record, &self.expected, idle, gives_addresses))
    }

    /// QEMU died: whether it was by the assertion that is known.
    fn died(&self, guest: &mut ScenarioGuest) -> Result<ScenarioFindings, GuestError> {
        let (status, said) = guest
            .ended()?
            .map_or_else(Default::default, |(status, said)| (status.to_string(), said));
        Ok(death(&status, &said, &self.expected))
    }
}

fn death(status: &str, said: &str, expected: &Expected) -> ScenarioFindings {
    let what = format!("QEMU died ({status}): {}", said.trim());
    let known = match expected {
        Expected::Aborts { assertion } => assertion.split(": ").all(|part| said.contains(part)),
        _ => false,
    };
    let unexpected = if known { Vec::new() } else { vec![format!("expected {expected}")] };
    ScenarioFindings { what, lost: false, no_verdict: None, unexpected }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_known_assertion_is_an_expected_death() {
        let known = Expected::Aborts { assertion: "f: block == b(end - 1)" };
        let said = "qemu: ../x.c:1: f: Assertion `block == b(end - 1)' failed.\n";
        assert!(death("signal: 6", said, &known).as_expected());
        assert!(!death("signal: 6", "qemu: out of memory", &known).as_expected());
        assert!(!death("signal: 6", said, &Expected::Identical).as_expected());
        let found = death("signal: 9", "", &known).to_string();
        assert!(found.starts_with("QEMU died (signal: 9): ; expected QEMU aborts"), "{found}");
    }
}
