//! The records of several runs on other machines as one.

use crate::run_result::{ExperimentReport, indented};
use memtwin_replicate::CancelToken;
use memtwin_report::record::{HostFacts, RunProvenance};
use memtwin_report::{Case, ExitCode, RunRecord, exit};
use memtwin_session::host_facts;
use serde_json::Value;
use std::collections::BTreeMap;

/// What Memtwin returns when there was no clean log in time.
const NOT_CONVERGED: i32 = ExitCode::NotConverged as i32;

/// One record of all.
#[derive(Debug, Default)]
pub(crate) struct MergedReport {
    cases: Vec<Case>,
    /// Those that stand behind all others, whenever they were known.
    last_cases: Vec<Case>,
    notes: Vec<String>,
    /// The machines, by the word that their cases' names have of them.
    boards: BTreeMap<String, HostFacts>,
    /// How each run on them came about.
    remote_runs: BTreeMap<String, Vec<RunProvenance>>,
    /// The first run that was merged: its machine and its command.
    first: Option<(HostFacts, String)>,
    not_converged: bool,
}

/// A record that was merged.
#[derive(Debug)]
pub(crate) struct MergedRecord {
    /// The machine it came from.
    pub(crate) host: HostFacts,
    /// How it came about there.
    pub(crate) provenance: Option<RunProvenance>,
    /// What its cases were called there.
    pub(crate) names: Vec<String>,
    /// Its cases, under their new names.
    pub(crate) cases: Vec<Case>,
}

impl MergedReport {
    /// Takes over a record; `rename` makes each case's name, of the machine and the name that it has there.
    ///
    /// Errors: it is no record of ours; the text says why.
    pub(crate) fn add(
        &mut self,
        record: Value,
        rename: impl Fn(&HostFacts, &str) -> String,
    ) -> Result<MergedRecord, String> {
        let record: RunRecord =
            serde_json::from_value(record).map_err(|error| format!("its record: {error}"))?;
        let RunRecord { host, command, cases, notes, provenance, .. } = record;
        self.first.get_or_insert_with(|| (host.clone(), command));
        let names = cases.iter().map(|case| case.name().to_owned()).collect();
        let renamed = cases.into_iter().map(|case| {
            let name = rename(&host, case.name());
            case.named(name)
        });
        let cases: Vec<Case> = renamed.collect();
        self.cases.extend(cases.iter().cloned());
        self.notes.extend(indented(&notes));
        Ok(MergedRecord { host, provenance, names, cases })
    }

    /// A case that is known here.
    pub(crate) fn case(&mut self, case: Case) {
        self.cases.push(case);
    }

    /// A case that is known here, to stand behind all others.
    pub(crate) fn last_case(&mut self, case: Case) {
        self.last_cases.push(case);
    }

    /// A machine, by the word that its cases' names have of it.
    pub(crate) fn board(&mut self, label: String, host: HostFacts) {
        self.boards.insert(label, host);
    }

    /// How a run on a machine came about, by the machine's word.
    pub(crate) fn remote_run(&mut self, label: &str, provenance: Option<RunProvenance>) {
        if let Some(provenance) = provenance {
            self.remote_runs.entry(label.to_owned()).or_default().push(provenance);
        }
    }

    /// A note.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// The last lines of a machine, below a note, if there are any.
    pub(crate) fn last_lines(&mut self, note: impl Into<String>, lines: &[String]) {
        if !lines.is_empty() {
            self.note(note);
            self.notes.extend(indented(lines));
        }
    }

    /// What a command returned.
    pub(crate) fn returned(&mut self, rc: i32) {
        self.not_converged |= rc == NOT_CONVERGED;
    }

    /// The command of the first run, as it was typed there; none if no run came to a record.
    pub(crate) fn first_command(&self) -> Option<&str> {
        self.first.as_ref().map(|(_, command)| command.as_str())
    }

    /// The report of all.
    pub(crate) fn report(self, command: String, stop: &CancelToken) -> ExperimentReport {
        let cases = self.cases.into_iter().chain(self.last_cases).collect();
        let mut record = RunRecord::new(command, cases).with_notes(self.notes);
        record.host = self.first.map_or_else(host_facts, |(host, _)| host);
        record.boards = self.boards;
        record.remote_runs = self.remote_runs;
        let code = exit::of_cases(&record.cases, self.not_converged, stop.is_set());
        ExperimentReport { record, code }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_pages::Layout;
    use memtwin_report::CaseBuilder;

    fn record(arch: &str, name: &str) -> Value {
        let case = CaseBuilder::new(name, "kvm", &Layout::default()).inconclusive("x", Vec::new());
        let mut record =
            RunRecord::new(format!("on {arch}"), vec![case]).with_notes(vec!["seen".to_owned()]);
        record.host.arch = arch.to_owned();
        serde_json::to_value(record).unwrap()
    }

    #[test]
    fn records_are_one_and_the_first_machine_is_its_host() {
        let mut merged = MergedReport::default();
        let late =
            CaseBuilder::new("late", "kvm", &Layout::default()).inconclusive("x", Vec::new());
        merged.last_case(late);
        merged.note("bitmap:");
        let rename = |host: &HostFacts, name: &str| format!("{}/{name}", host.arch);
        let added = merged.add(record("a", "n"), rename).unwrap();
        assert_eq!((added.names, added.cases[0].name()), (vec!["n".to_owned()], "a/n"));
        merged.add(record("b", "n"), rename).unwrap();
        assert_eq!(merged.first_command(), Some("on a"));
        merged.board("4k".to_owned(), added.host);
        merged.remote_run("4k", None);
        merged.remote_run("4k", Some(RunProvenance::default()));
        let ExperimentReport { record, code } =
            merged.report("me".to_owned(), &CancelToken::default());
        let names: Vec<&str> = record.cases.iter().map(Case::name).collect();
        assert_eq!(names, ["a/n", "b/n", "late"]);
        assert_eq!((record.host.arch.as_str(), record.command.as_str()), ("a", "me"));
        assert_eq!(record.notes, ["bitmap:", "    seen", "    seen"]);
        assert_eq!((record.boards.len(), code), (1, ExitCode::Inconclusive));
        assert_eq!(record.remote_runs["4k"], [RunProvenance::default()]);
        // What is written can be read again.
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<RunRecord>(&text).unwrap(), record);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let mut merged = MergedReport::default();
        let refused = |value| MergedReport::default().add(value, |_, name| name.to_owned());
        let mut altered = record("a", "n");
        altered["cases"][0]["passed"] = true.into();
        for value in [Value::Null, altered] {
            assert!(refused(value).unwrap_err().starts_with("its record: "));
        }
        // Nothing ran, and that is no pass; a log that was never clean is not forgotten.
        merged.returned(10);
        assert_eq!(
            merged.report("me".to_owned(), &CancelToken::default()).code,
            ExitCode::NotConverged
        );
    }
}
