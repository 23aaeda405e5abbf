//! What an experiment came to.

use memtwin_lab::MachineError;
use memtwin_replicate::CancelToken;
use memtwin_report::record::LostPage;
use memtwin_report::{Case, CaseBuilder, ExitCode, RunRecord, exit};
use memtwin_session::host_facts;

/// An experiment's record, and the exit code of a command that ran nothing else.
#[derive(Debug)]
pub struct ExperimentReport {
    /// The record, whose notes say what its cases do not.
    pub record: RunRecord,
    /// The exit code.
    pub code: ExitCode,
}

/// What a run on this machine came to.
#[derive(Debug, Default)]
pub(crate) struct RunResult {
    pub(crate) cases: Vec<Case>,
    pub(crate) not_converged: bool,
    pub(crate) notes: Vec<String>,
}

impl RunResult {
    /// The guest did not do its part. A loss that was seen before stays.
    pub(crate) fn guest_failed(
        &mut self,
        trial: CaseBuilder,
        lost: &[LostPage],
        error: &MachineError,
    ) {
        let (reason, last) = machine_failure(error);
        if !last.is_empty() {
            self.notes.push("the last that the guest said:".to_owned());
            self.notes.extend(indented(last));
        }
        self.cases.push(trial.inconclusive(reason, lost.to_vec()));
    }

    /// The report of the run of this command.
    pub(crate) fn report(self, command: String, stop: &CancelToken) -> ExperimentReport {
        let Self { cases, not_converged, notes } = self;
        let code = exit::of_cases(&cases, not_converged, stop.is_set());
        let record = RunRecord { host: host_facts(), ..RunRecord::new(command, cases) };
        ExperimentReport { record: record.with_notes(notes), code }
    }
}

/// Lines below another.
pub(crate) fn indented(lines: &[String]) -> impl Iterator<Item = String> {
    lines.iter().map(|line| format!("    {line}"))
}

/// What became of a machine, and the last that it said.
pub(crate) fn machine_failure(error: &MachineError) -> (String, &[String]) {
    match error {
        MachineError::Ended { what, status, last, .. } => {
            (format!("QEMU ended ({status}) before {what}"), last)
        }
        MachineError::Panicked { what, last, .. } => {
            (format!("the guest's kernel panicked before {what}"), last)
        }
        MachineError::TimedOut { what, limit, last, .. } => {
            (format!("no {what} within {} s", limit.as_secs()), last)
        }
        MachineError::Refused { order, rc, output } => {
            (format!("the guest's '{order}' returned {rc}"), output)
        }
        other => (other.to_string(), &[]),
    }
}
