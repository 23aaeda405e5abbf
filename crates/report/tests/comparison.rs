//! Two runs held against each other: never a success that neither of them has seen.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

use memtwin_pages::Layout;
use memtwin_report::comparison::{Change, Comparison, Measure};
use memtwin_report::record::{Clock, Migration};
use memtwin_report::{Case, CaseBuilder, ExitCode, RunRecord};
use std::collections::BTreeMap;

const NAME: &str = "migrate/ram";

fn run(cases: Vec<Case>) -> RunRecord {
    RunRecord::new("memtwin migrate", cases)
}

fn builder() -> CaseBuilder {
    CaseBuilder::new(NAME, "qemu", &Layout::default())
}

fn passed() -> Case {
    builder().judged(Vec::new(), BTreeMap::new())
}

fn broken_off() -> Case {
    builder().inconclusive("it broke off", Vec::new())
}

fn skipped() -> Case {
    Case::skipped(NAME, "qemu", "no /dev/kvm")
}

/// A run whose guest was seen to stand still for so long.
fn moved(case: Case, us: u64) -> RunRecord {
    let clock = Clock { name: "ping".to_owned(), us, without_verify_us: us };
    let migration = Migration { clocks: vec![clock], ..Migration::default() };
    RunRecord { migration: Some(migration), ..run(vec![case]) }
}

#[test]
fn the_code_is_zero_only_if_a_case_was_judged_on_both_sides() {
    let code = |before: Case, after: Case| {
        Comparison::of(&[run(vec![before])], &[run(vec![after])]).exit_code()
    };
    assert_eq!(code(passed(), passed()), ExitCode::Verified);
    assert_eq!(code(passed(), builder().differs("the disk")), ExitCode::Mismatch);
    assert_eq!(code(passed(), broken_off()), ExitCode::Inconclusive);
    assert_eq!(code(passed(), skipped()), ExitCode::Mismatch);
    for (before, after) in [
        (skipped(), skipped()),
        (skipped(), passed()),
        (broken_off(), broken_off()),
        (broken_off(), passed()),
    ] {
        assert_eq!(code(before, after), ExitCode::AllSkipped);
    }
    assert_eq!(
        Comparison::of(&[run(Vec::new())], &[run(Vec::new())]).exit_code(),
        ExitCode::AllSkipped
    );
}

/// The clocks of a move are measured whatever its cases came to, and are no verdict.
#[test]
fn the_clocks_of_a_move_are_no_verdict() {
    let of = |before: fn() -> Case, after: fn() -> Case, us: [u64; 3]| {
        let before: Vec<_> = [100, 110, 120].map(|us| moved(before(), us)).into();
        Comparison::of(&before, &us.map(|us| moved(after(), us)))
    };
    assert_eq!(of(broken_off, broken_off, [100, 110, 120]).exit_code(), ExitCode::AllSkipped);
    assert_eq!(of(passed, passed, [110, 100, 125]).exit_code(), ExitCode::Verified);
    let slower = of(passed, passed, [500, 510, 520]);
    assert_eq!(slower.exit_code(), ExitCode::Mismatch);
    let worst = slower.cases.first().unwrap();
    assert_eq!((worst.change, worst.before), (Change::Worse, None));
    assert_eq!(worst.measures[0].measure, Measure::Clock("ping".to_owned()));
    assert_eq!(of(passed, passed, [10, 11, 12]).count(Change::Better), 1);
}
