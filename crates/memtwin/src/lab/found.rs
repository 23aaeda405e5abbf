//! What an experiment came to.

use memtwin_lab::MachineError;
use memtwin_report::record::LostPage;
use memtwin_report::{Case, Trial};

/// What it came to.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) cases: Vec<Case>,
    pub(super) not_converged: bool,
    pub(super) closing: Vec<String>,
}

impl Found {
    /// The guest did not do its part. A loss that was seen before stays.
    pub(super) fn guest_failed(&mut self, trial: Trial, lost: &[LostPage], error: &MachineError) {
        let (reason, last) = account(error);
        if !last.is_empty() {
            self.closing.push("the last that the guest said:".to_owned());
            self.closing.extend(last.iter().map(|line| format!("    {line}")));
        }
        self.cases.push(trial.inconclusive(reason, lost.to_vec()));
    }
}

/// What became of a machine, and the last that it said.
pub(super) fn account(error: &MachineError) -> (String, &[String]) {
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
