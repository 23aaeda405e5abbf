//! What a migration came to, for whoever asked for it.

use memtwin_report::record::{Migration, Sweep};
use memtwin_report::{Case, ExitCode, Failure, RunRecord, exit};

/// What a migration came to: cases, lines for a person, and its parts of the run record.
#[derive(Debug, Default)]
pub struct MigrationReport {
    /// RAM, disk, guest and network, as far as they were judged.
    pub cases: Vec<Case>,
    /// Whether it was given up at its time limit.
    pub not_converged: bool,
    /// Lines that say what happened.
    pub closing: Vec<String>,
    /// The last move, for the record.
    pub migration: Option<Migration>,
    /// The fault that did not come about, and why.
    pub missed: Option<String>,
    /// The sweep, for the record.
    pub sweep: Option<Sweep>,
    /// What could not be undone on machines that are somebody's, a line each.
    pub leftovers: Vec<String>,
}

impl MigrationReport {
    /// The record of the run, with every line that says what happened.
    pub fn take_record(&mut self, command: String) -> RunRecord {
        let mut record = RunRecord::new(command, std::mem::take(&mut self.cases));
        record.migration = self.migration.take();
        record.sweep = self.sweep.take();
        let missed = self.missed.iter().map(|missed| format!("--fault: {missed}"));
        let said = std::mem::take(&mut self.closing).into_iter().chain(missed);
        record.with_notes(said.chain(self.leftovers.iter().cloned()))
    }

    /// What the process ends with, by its cases.
    pub fn exit_code(&self, interrupted: bool) -> ExitCode {
        if self.cases.is_empty() && self.not_converged {
            return ExitCode::NotConverged;
        }
        exit::of_cases(&self.cases, self.not_converged, interrupted)
    }

    /// The same, once the record was written: an error where nothing was shown of a fault that was to be
    /// seen, or something is left on a machine.
    pub fn ending(&self, code: ExitCode) -> Result<ExitCode, Failure> {
        match &self.missed {
            Some(missed) if code == ExitCode::Verified => {
                Err(Failure::environment(format!("--fault: {missed}")))
            }
            _ if !self.leftovers.is_empty() => {
                let code = if code == ExitCode::Verified { ExitCode::Environment } else { code };
                Err(Failure { code, message: self.leftovers.join("\n") })
            }
            _ => Ok(code),
        }
    }
}
