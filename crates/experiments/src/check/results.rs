//! What the checks came to. A case's name says where it ran: `host=4k` before the control's ending, which is the
//! page size of the host's kernel, and of a machine that is no emulated board its name as well.

use super::plan::CheckPart;
use crate::merged_report::{MergedRecord, MergedReport};
use crate::run_result::machine_failure;
use memtwin_lab::remote_runner::RemoteError;
use memtwin_pages::Layout;
use memtwin_report::record::HostFacts;
use memtwin_report::{Case, CaseBuilder};
use serde_json::Value;

/// What the checks came to.
#[derive(Debug, Default)]
pub(super) struct CheckResults {
    pub(super) merged: MergedReport,
    /// Whether a board has failed, whose console is worth keeping.
    pub(super) has_consoles: bool,
}

/// The end of a control's name.
const CONTROL: &str = "/control";

/// A case's name with where it ran.
pub(super) fn host_name(case: &str, label: &str) -> String {
    match case.strip_suffix(CONTROL) {
        Some(case) => format!("{case}/host={label}{CONTROL}"),
        None => format!("{case}/host={label}"),
    }
}

impl CheckResults {
    /// Takes over what a machine has found. `label` makes its label of the record. Returns that, and
    /// which cases these are, as the machine names them.
    ///
    /// Errors: it is no record of ours; the text says why.
    pub(super) fn add(
        &mut self,
        record: Value,
        label: impl Fn(&HostFacts) -> String,
    ) -> Result<(String, Vec<String>), String> {
        let rename = |host: &HostFacts, name: &str| host_name(name, &label(host));
        let MergedRecord { host, provenance, names, .. } = self.merged.add(record, rename)?;
        let label = label(&host);
        self.merged.remote_run(&label, provenance);
        self.merged.board(label.clone(), host);
        Ok((label, names))
    }

    /// What these would have come to is not known.
    pub(super) fn failed(&mut self, label: &str, parts: &[CheckPart], error: &RemoteError) {
        let (reason, last) = match error {
            RemoteError::Machine(error) => {
                let (reason, last) = machine_failure(error);
                (reason, last.to_vec())
            }
            RemoteError::NoRecord { rc, said } => {
                (format!("memtwin returned {rc} and no record"), said.clone())
            }
            other => (other.to_string(), Vec::new()),
        };
        self.unknown(label, parts, &reason);
        self.has_consoles |= matches!(error, RemoteError::Machine(_));
        self.merged.last_lines(format!("{label}: {reason}; the last that it said:"), &last);
    }

    /// The same, with a reason.
    pub(super) fn unknown(&mut self, label: &str, parts: &[CheckPart], reason: &str) {
        for case in parts.iter().flat_map(|part| &part.names) {
            let trial = CaseBuilder::new(host_name(case, label), "kvm", &Layout::default());
            self.merged.case(trial.inconclusive(reason, Vec::new()));
        }
    }

    /// These do not run.
    pub(super) fn skipped(&mut self, label: &str, parts: &[CheckPart], reason: &str) {
        for case in parts.iter().flat_map(|part| &part.names) {
            self.merged.case(Case::skipped(host_name(case, label), "kvm", reason));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_result::ExperimentReport;
    use memtwin_lab::MachineError;
    use memtwin_replicate::CancelToken;
    use memtwin_report::record::Verdict;
    use memtwin_report::{ExitCode, RunRecord};
    use std::collections::BTreeMap;

    fn part(names: &[&str]) -> CheckPart {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        CheckPart { arguments: Vec::new(), names }
    }

    #[test]
    fn a_control_stays_one() {
        let name = host_name("kvm/get/shm/vcpus=1/once", "4k");
        assert_eq!(name, "kvm/get/shm/vcpus=1/once/host=4k");
        assert_eq!(host_name("kvm/get/control", "16k"), "kvm/get/host=16k/control");
    }

    #[test]
    fn a_board_that_dies_takes_no_other_result_with_it() {
        let host = HostFacts {
            arch: "aarch64".to_owned(),
            kernel: "6.12".to_owned(),
            page_size: 4096,
            cpus: 2,
            cpu_model: None,
            kvm: None,
        };
        let trial = CaseBuilder::new("kvm/get/a", "kvm", &Layout::default());
        let mut record = RunRecord::new("check", vec![trial.judged(Vec::new(), BTreeMap::new())]);
        record.host = host.clone();
        let record = serde_json::to_value(record).unwrap();
        let mut results = CheckResults::default();
        let (label, known) = results.add(record, |_| "4k".to_owned()).unwrap();
        assert_eq!((label.as_str(), known), ("4k", vec!["kvm/get/a".to_owned()]));
        let error = RemoteError::Machine(MachineError::Panicked {
            what: "the answer".to_owned(),
            log: "/console".into(),
            last: vec!["Kernel panic - not syncing: x".to_owned()],
        });
        results.failed("16k", &[part(&["kvm/get/a", "kvm/get/a/control"])], &error);
        results.skipped("64k", &[part(&["kvm/get/a"])], "not built");
        assert!(results.has_consoles);
        let report = results.merged.report("lab run check".to_owned(), &CancelToken::default());
        let ExperimentReport { record, code } = report;
        assert!(record.notes.iter().any(|line| line.contains("Kernel panic")));
        let verdicts: Vec<Verdict> = record.cases.iter().map(Case::verdict).collect();
        let [identical, inconclusive, skipped] =
            [Verdict::Identical, Verdict::Inconclusive, Verdict::Skipped];
        assert_eq!(verdicts, [identical, inconclusive, inconclusive, skipped]);
        assert_eq!(code, ExitCode::Inconclusive);
        assert_eq!(record.host, host);
        assert_eq!(record.boards.keys().collect::<Vec<_>>(), ["4k"]);
        assert_eq!(record.cases[2].name(), "kvm/get/a/host=16k/control");
        assert_eq!(record.command, "lab run check");
    }
}
