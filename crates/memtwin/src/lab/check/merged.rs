//! One record of checks on several machines. A case's name says where it ran: `host=4k` before the
//! control's ending, which is the page size of the host's kernel, and of a machine that is no
//! emulated board its name as well.

use super::plan::Part;
use crate::lab::found::account;
use memtwin_lab::remote_runner::RemoteError;
use memtwin_pages::Layout;
use memtwin_report::record::Host;
use memtwin_report::{Case, RunRecord, Trial};
use serde_json::Value;
use std::collections::BTreeMap;

/// What the checks came to.
#[derive(Debug, Default)]
pub(super) struct Merged {
    pub(super) cases: Vec<Case>,
    pub(super) closing: Vec<String>,
    /// Whether a board has failed, whose console is worth keeping.
    pub(super) has_consoles: bool,
    boards: BTreeMap<String, Host>,
    /// The first machine that answered.
    host: Option<Host>,
}

/// The end of a control's name.
const CONTROL: &str = "/control";

/// A case's name with where it ran.
pub(super) fn name(case: &str, label: &str) -> String {
    match case.strip_suffix(CONTROL) {
        Some(case) => format!("{case}/host={label}{CONTROL}"),
        None => format!("{case}/host={label}"),
    }
}

impl Merged {
    /// Takes over what a machine has found. `label` makes its label of the record. Returns that, and
    /// which cases these are, as the machine names them.
    ///
    /// Errors: it is no record of ours; the text says why.
    pub(super) fn add(
        &mut self,
        record: Value,
        label: impl FnOnce(&Host) -> String,
    ) -> Result<(String, Vec<String>), String> {
        let record: RunRecord =
            serde_json::from_value(record).map_err(|error| format!("its record: {error}"))?;
        let known = record.cases.iter().map(|case| case.name().to_owned()).collect();
        let label = label(&record.host);
        self.host.get_or_insert_with(|| record.host.clone());
        self.boards.insert(label.clone(), record.host);
        self.cases.extend(record.cases.into_iter().map(|case| {
            let name = name(case.name(), &label);
            case.named(name)
        }));
        Ok((label, known))
    }

    /// Nobody can say what these would have come to.
    pub(super) fn failed(&mut self, label: &str, parts: &[Part], error: &RemoteError) {
        let (reason, last) = match error {
            RemoteError::Machine(error) => {
                let (reason, last) = account(error);
                (reason, last.to_vec())
            }
            RemoteError::NoRecord { rc, said } => {
                (format!("memtwin returned {rc} and no record"), said.clone())
            }
            other => (other.to_string(), Vec::new()),
        };
        self.unknown(label, parts, &reason);
        self.has_consoles |= matches!(error, RemoteError::Machine(_));
        if !last.is_empty() {
            self.closing.push(format!("{label}: {reason}; the last that it said:"));
            self.closing.extend(last.iter().map(|line| format!("    {line}")));
        }
    }

    /// The same, with a reason.
    pub(super) fn unknown(&mut self, label: &str, parts: &[Part], reason: &str) {
        self.cases.extend(parts.iter().flat_map(|part| &part.names).map(|case| {
            let trial = Trial::new(name(case, label), "kvm", &Layout::default());
            trial.inconclusive(reason, Vec::new())
        }));
    }

    /// These do not run.
    pub(super) fn skipped(&mut self, label: &str, parts: &[Part], reason: &str) {
        let names = parts.iter().flat_map(|part| &part.names);
        self.cases.extend(names.map(|case| Case::skipped(name(case, label), "kvm", reason)));
    }

    /// The record of all.
    pub(super) fn record(self, command: String) -> RunRecord {
        let mut record = RunRecord::new(command, self.cases);
        record.host = self.host.unwrap_or(record.host);
        record.boards = self.boards;
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_lab::MachineError;
    use memtwin_report::record::Verdict;
    use memtwin_report::{ExitCode, exit};

    fn part(names: &[&str]) -> Part {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Part { arguments: Vec::new(), names }
    }

    #[test]
    fn a_control_stays_one() {
        assert_eq!(name("kvm/get/shm/vcpus=1/once", "4k"), "kvm/get/shm/vcpus=1/once/host=4k");
        assert_eq!(name("kvm/get/control", "16k"), "kvm/get/host=16k/control");
    }

    #[test]
    fn a_board_that_dies_takes_no_other_result_with_it() {
        let host = Host {
            arch: "aarch64".to_owned(),
            kernel: "6.12".to_owned(),
            page_size: 4096,
            cpus: 2,
        };
        let mut record = RunRecord::new(
            "check",
            vec![
                Trial::new("kvm/get/a", "kvm", &Layout::default())
                    .judged(Vec::new(), BTreeMap::new()),
            ],
        );
        record.host = host.clone();
        let record = serde_json::to_value(record).unwrap();
        let mut merged = Merged::default();
        let (label, known) = merged.add(record, |_| "4k".to_owned()).unwrap();
        assert_eq!((label.as_str(), known), ("4k", vec!["kvm/get/a".to_owned()]));
        let error = RemoteError::Machine(MachineError::Panicked {
            what: "the answer".to_owned(),
            log: "/console".into(),
            last: vec!["Kernel panic - not syncing: x".to_owned()],
        });
        merged.failed("16k", &[part(&["kvm/get/a", "kvm/get/a/control"])], &error);
        merged.skipped("64k", &[part(&["kvm/get/a"])], "not built");
        assert!(merged.has_consoles);
        assert!(merged.closing.iter().any(|line| line.contains("Kernel panic")));
        let verdicts: Vec<Verdict> = merged.cases.iter().map(Case::verdict).collect();
        let [identical, inconclusive, skipped] =
            [Verdict::Identical, Verdict::Inconclusive, Verdict::Skipped];
        assert_eq!(verdicts, [identical, inconclusive, inconclusive, skipped]);
        assert_eq!(exit::of_cases(&merged.cases, false, false), ExitCode::Inconclusive);
        let record = merged.record("lab run check".to_owned());
        assert_eq!(record.host, host);
        assert_eq!(record.boards.keys().collect::<Vec<_>>(), ["4k"]);
        assert_eq!(record.cases[2].name(), "kvm/get/a/host=16k/control");
        // What is written can be read again.
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<RunRecord>(&text).unwrap(), record);
    }
}
