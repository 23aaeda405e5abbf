//! In what two sets of runs differ that is no result: where differences may come from.

use crate::record::{HypervisorFacts, RunRecord};
use crate::text::clipped;
use std::collections::BTreeSet;

/// How many characters of a command line are quoted.
const QUOTED: usize = 300;

/// What a setting is called, and what it was in a run, if the record says so.
type Setting = (&'static str, fn(&RunRecord) -> Option<String>);

/// A line for each setting in which they differ.
pub(super) fn differences(before: &[RunRecord], after: &[RunRecord]) -> Vec<String> {
    let settings: [Setting; 11] = [
        ("Memtwin", |record| Some(record.version.clone())),
        ("Memtwin's revision", |record| record.provenance.as_ref()?.git_revision.clone()),
        ("build", |record| Some(record.provenance.as_ref()?.build_profile.clone())),
        ("kernel", |record| Some(record.host.kernel.clone())),
        ("architecture", |record| Some(record.host.arch.clone())),
        ("page size", |record| Some(format!("{} bytes", record.host.page_size))),
        ("CPUs", |record| Some(record.host.cpus.to_string())),
        ("CPU", |record| record.host.cpu_model.clone()),
        ("hypervisor", hypervisors),
        ("seed", seed),
        ("command", |record| Some(without_paths(&record.command))),
    ];
    let mut lines = Vec::new();
    for (name, of) in settings {
        let values =
            |records: &[RunRecord]| records.iter().filter_map(of).collect::<BTreeSet<String>>();
        let (was, is) = (values(before), values(after));
        if was == is {
            continue;
        }
        let shown = |values: BTreeSet<String>| match values.len() {
            0 => "not recorded".to_owned(),
            _ => clipped(&values.into_iter().collect::<Vec<_>>().join(", "), QUOTED),
        };
        lines.push(format!("{name}: {} before, {} after", shown(was), shown(is)));
    }
    lines
}

/// The hypervisors of a run's guests, each once.
fn hypervisors(record: &RunRecord) -> Option<String> {
    let known = record.cases.iter().filter_map(|case| {
        let HypervisorFacts { name, version, machine, accelerator, .. } = case.hypervisor()?;
        let parts = [Some(name), version.as_ref(), machine.as_ref(), accelerator.as_ref()];
        Some(parts.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" "))
    });
    let known: BTreeSet<String> = known.collect();
    (!known.is_empty()).then(|| known.into_iter().collect::<Vec<_>>().join(", "))
}

/// The seed of a run: as it was asked for, or as it was chosen and noted.
fn seed(record: &RunRecord) -> Option<String> {
    let after = |text: &str| {
        let (_, rest) = text.split_once("--seed")?;
        let seed = rest.trim_start_matches(['=', ' ']).split_whitespace().next()?;
        seed.parse::<u64>().ok().map(|seed| seed.to_string())
    };
    let resolved = record.provenance.as_ref().and_then(|run| run.resolved.get("seed"));
    let resolved = resolved.filter(|seed| !seed.is_null());
    // Typed it is text, chosen by the run a number.
    let resolved = resolved.map(|seed| seed.as_str().map_or(seed.to_string(), str::to_owned));
    let noted = || record.notes.iter().find_map(|note| after(note));
    resolved.or_else(noted).or_else(|| after(&record.command))
}

/// The command line without the options that only say where results go.
fn without_paths(command: &str) -> String {
    let mut words = command.split_whitespace();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "--json" | "--report" | "--metrics" | "--seed" => drop(words.next()),
            "--quiet" | "-q" => {}
            _ if ["--json=", "--report=", "--metrics=", "--seed="]
                .iter()
                .any(|own| word.starts_with(own)) => {}
            word => kept.push(word),
        }
    }
    // The program itself may lie elsewhere.
    kept.get(1..).unwrap_or_default().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(command: &str, notes: &[&str]) -> RunRecord {
        let notes = notes.iter().map(|note| (*note).to_owned());
        RunRecord::new(command, Vec::new()).with_notes(notes)
    }

    #[test]
    fn another_seed_is_said_and_where_results_go_is_not() {
        let before = record("memtwin check --seed 1 --json a.json", &[]);
        let after = record("./memtwin check --quiet --json=b.json", &["to repeat: --seed 2"]);
        let lines = differences(std::slice::from_ref(&before), &[after]);
        assert_eq!(lines, ["seed: 1 before, 2 after"]);
        assert_eq!(
            differences(std::slice::from_ref(&before), std::slice::from_ref(&before)),
            [""; 0]
        );
    }

    #[test]
    fn a_run_of_other_cases_is_said() {
        let lines = differences(
            &[record("memtwin check --all", &[])],
            &[record("memtwin check --mode get", &[])],
        );
        assert_eq!(lines, ["command: check --all before, check --mode get after"]);
    }
}
