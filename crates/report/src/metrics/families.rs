//! Which metrics a run has. Their names and labels are a contract with dashboards and alerts (docs/metrics.md).

use super::family::{Family, Label};
use crate::ExitCode;
use crate::record::{Case, CaseStanding, Migration, RunRecord, Verdict};
use std::collections::HashSet;

pub(super) const LAST_RUN: &str = "memtwin_last_run_timestamp_seconds";
pub(super) const LAST_SUCCESS: &str = "memtwin_last_success_timestamp_seconds";

/// What is known of a run beside its record.
pub(super) struct RunOutcome {
    /// The file's name without its ending.
    pub(super) run: String,
    pub(super) code: ExitCode,
    /// Seconds since 1970.
    pub(super) now: f64,
    pub(super) last_success: Option<f64>,
}

/// All families, those of the run first.
pub(super) fn families_of(record: Option<&RunRecord>, outcome: &RunOutcome) -> Vec<Family> {
    let run = ("run", outcome.run.clone());
    let only_run = [run.clone()];
    let mut families = vec![
        Family::new(LAST_RUN, "When the last run ended, whatever came of it.")
            .with(&only_run, outcome.now),
        Family::new("memtwin_last_run_exit_code", "The exit code of the last run; 0 is verified.")
            .with(&only_run, f64::from(outcome.code.number())),
    ];
    let success = Family::new(LAST_SUCCESS, "When a run last ended verified.");
    families.extend(outcome.last_success.map(|at| success.with(&only_run, at)));
    let Some(record) = record else { return families };

    let host = &record.host;
    families.push(Family::new("memtwin_run_info", "Memtwin and the host of the last run.").with(
        &[
            run.clone(),
            ("version", record.version.clone()),
            ("arch", host.arch.clone()),
            ("kernel", host.kernel.clone()),
        ],
        1.0,
    ));
    let mut standings =
        Family::new("memtwin_cases", "How many cases of the last run passed, failed, …");
    for (standing, name) in STANDINGS {
        let count = record.cases.iter().filter(|case| case.standing() == standing).count();
        standings.add(&[run.clone(), ("standing", name.to_owned())], count as f64);
    }
    families.push(standings);
    families.extend(case_families(&record.cases, &run));
    families.extend(record.migration.iter().flat_map(|moved| migration_families(moved, &run)));
    families
}

const STANDINGS: [(CaseStanding, &str); 4] = [
    (CaseStanding::Passed, "passed"),
    (CaseStanding::Failed, "failed"),
    (CaseStanding::Inconclusive, "inconclusive"),
    (CaseStanding::Skipped, "skipped"),
];

const VERDICTS: [Verdict; 4] =
    [Verdict::Identical, Verdict::Differs, Verdict::Inconclusive, Verdict::Skipped];

fn case_families(cases: &[Case], run: &Label) -> Vec<Family> {
    let mut verdicts = Family::new(
        "memtwin_case_verdict",
        "1 for the verdict of a case that is no control, 0 for the others.",
    );
    let mut controls = Family::new(
        "memtwin_control_verdict",
        "1 for what became of a control, in which pages are withheld on purpose, 0 for the others.",
    );
    let mut lost = Family::new(
        "memtwin_lost_pages",
        "Pages that the dirty log missed, of a case that was judged.",
    );
    let mut discarded = Family::new(
        "memtwin_discarded_pages",
        "Pages that the guest gave up, and that were not judged.",
    );
    let mut dirty =
        Family::new("memtwin_dirty_pages", "Pages that the dirty log named in the run.");
    let mut rounds = Family::new("memtwin_rounds", "Rounds of the run, pre-copy included.");
    let mut time = Family::new(
        "memtwin_rounds_duration_seconds",
        "How long the rounds took, without what was slept between them.",
    );
    let mut pause = Family::new(
        "memtwin_guest_pause_seconds",
        "The longest time that the guest stood still for Memtwin.",
    );
    let mut names = HashSet::new();
    for case in cases {
        let (hypervisor, guest) = origin(case.source());
        let of_guest = [run.clone(), ("hypervisor", hypervisor), ("guest", guest)];
        let labels = [&of_guest[..], &[("case", distinct(case, &mut names))]].concat();
        if let Some(time) = case.guest_pause() {
            pause.add(&of_guest, time.as_secs_f64());
        }
        if case.control().is_some() || case.name().ends_with("/control") {
            for (standing, name) in STANDINGS {
                let word = match standing {
                    CaseStanding::Passed => "found",
                    CaseStanding::Failed => "not_found",
                    CaseStanding::Inconclusive | CaseStanding::Skipped => name,
                };
                let is_it = case.standing() == standing;
                controls.add(&with(&labels, "verdict", word), f64::from(u8::from(is_it)));
            }
            continue;
        }
        for verdict in VERDICTS {
            let is_it = case.verdict() == verdict;
            verdicts.add(&with(&labels, "verdict", verdict.name()), f64::from(u8::from(is_it)));
        }
        // No number where nothing was judged: 0 would look like a pass.
        if matches!(case.verdict(), Verdict::Identical | Verdict::Differs) {
            lost.add(&labels, case.lost().len() as f64);
            discarded.add(&labels, case.discarded_pages() as f64);
        }
        if !case.rounds().is_empty() {
            dirty.add(&labels, case.dirty_pages() as f64);
            rounds.add(&labels, case.rounds().len() as f64);
            time.add(&labels, case.time_in_rounds().as_secs_f64());
        }
    }
    vec![verdicts, controls, lost, discarded, dirty, rounds, time, pause]
}

fn migration_families(moved: &Migration, run: &Label) -> Vec<Family> {
    let only_run = std::slice::from_ref(run);
    let us = |us: u64| us as f64 / 1e6;
    let mut downtime = Family::new(
        "memtwin_migration_downtime_seconds",
        "How long each clock saw the guest stand still, without what was judged meanwhile.",
    );
    for clock in &moved.clocks {
        downtime.add(&with(only_run, "clock", &clock.name), us(clock.without_verify_us));
    }
    let mut rate = Family::new(
        "memtwin_dirty_pages_per_second",
        "Pages that the guest dirtied in a second, by the hypervisor's own estimate; the most of a migration's rounds.",
    );
    for round in &moved.rounds {
        rate.add(only_run, round.dirty_pages_per_second as f64);
    }
    vec![
        Family::new(
            "memtwin_migration_duration_seconds",
            "From the command to the guest's resuming, or to the end.",
        )
        .with(only_run, us(moved.total_us)),
        Family::new("memtwin_migration_sent_bytes", "Bytes that the migration sent.")
            .with(only_run, moved.bytes as f64),
        downtime,
        rate,
    ]
}

fn with(labels: &[Label], name: &'static str, value: &str) -> Vec<Label> {
    [labels, &[(name, value.to_owned())]].concat()
}

/// The hypervisor and the guest of a source, as a record names it: `qemu:/run/a.qmp`, `libvirt:NAME`, `kvm`.
fn origin(source: &str) -> (String, String) {
    match source.split_once(':') {
        Some(("libvirt", _)) => ("qemu".to_owned(), source.to_owned()),
        Some((kind, guest)) => (kind.to_owned(), guest.to_owned()),
        None => match source.split_once(' ') {
            // One that could not be audited: `QEMU process 7 (name)`.
            Some((kind, guest)) => (kind.to_lowercase(), guest.to_owned()),
            None => (source.to_owned(), String::new()),
        },
    }
}

/// The case's name, and where the same source has it twice (a record that was not made by us) with a number.
fn distinct(case: &Case, taken: &mut HashSet<(String, String)>) -> String {
    let mut name = case.name().to_owned();
    let mut number = 1;
    while !taken.insert((case.source().to_owned(), name.clone())) {
        number += 1;
        name = format!("{}#{number}", case.name());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_hypervisor_and_a_guest() {
        let is = |source, hypervisor: &str, guest: &str| {
            assert_eq!(origin(source), (hypervisor.to_owned(), guest.to_owned()), "{source}");
        };
        is("kvm", "kvm", "");
        is("qemu:/run/a.qmp", "qemu", "/run/a.qmp");
        is("libvirt:guest@qemu:///system", "qemu", "libvirt:guest@qemu:///system");
        is("QEMU process 7 (a)", "qemu", "process 7 (a)");
        is("", "", "");
    }

    #[test]
    fn two_cases_of_one_name_are_two_series() {
        let mut taken = HashSet::new();
        let case = |name: &str| Case::skipped(name, "kvm", "x");
        let names = ["a", "a", "a#2", "a"].map(|name| distinct(&case(name), &mut taken));
        assert_eq!(names, ["a", "a#2", "a#2#2", "a#3"]);
    }
}
