//! The exit codes of every combination of outcomes.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod sample;

use memtwin_report::exit::of_cases;
use memtwin_report::{Case, ExitCode};
use sample::*;

/// A kind of case, and the code that it stands for; none if it says nothing.
fn kinds() -> Vec<(Case, Option<ExitCode>)> {
    use ExitCode::{Inconclusive, Mismatch, Verified};
    let control = |injected: &[u64], found: &[u64]| {
        let lost: Vec<_> = found.iter().map(|&page| lost(page, None)).collect();
        let twin = if lost.is_empty() { 1 } else { 2 };
        trial("c/control")
            .control(injected.iter().map(|&page| at(page)))
            .judged(lost, digest(1, twin))
    };
    vec![
        (identical(), Some(Verified)),
        (control_found(), Some(Verified)),
        (differs(), Some(Mismatch)),
        (control(&[1, 2], &[]), Some(Mismatch)),
        (control(&[1, 2], &[1]), Some(Mismatch)),
        (control(&[1], &[1, 2]), Some(Mismatch)),
        (control(&[], &[]), Some(Mismatch)),
        (inconclusive(), Some(Inconclusive)),
        (skipped(), None),
    ]
}

#[test]
fn of_all_that_apply_the_first_by_precedence_is_the_code() {
    // As the design has it, by number.
    let precedence = [130, 1, 11, 10, 3, 4, 0];
    let kinds = kinds();
    for mask in 0..1u32 << kinds.len() {
        let chosen = kinds.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1);
        let (cases, codes): (Vec<_>, Vec<_>) = chosen.map(|(_, kind)| kind.clone()).unzip();
        for (not_converged, interrupted) in
            [(false, false), (false, true), (true, false), (true, true)]
        {
            let mut apply: Vec<u8> = codes.iter().flatten().map(|code| code.number()).collect();
            if apply.is_empty() {
                apply.push(4);
            }
            apply.extend(not_converged.then_some(10));
            apply.extend(interrupted.then_some(130));
            let expected = precedence.into_iter().find(|code| apply.contains(code)).unwrap();
            let code = of_cases(&cases, not_converged, interrupted);
            assert_eq!(code.number(), expected, "cases {mask:b}, {not_converged}, {interrupted}");
        }
    }
}

#[test]
fn two_codes_come_to_the_first_by_precedence() {
    let precedence = [2, 130, 1, 11, 10, 3, 4, 0];
    let codes = ExitCode::BY_PRECEDENCE;
    assert_eq!(codes.map(ExitCode::number), precedence);
    for (i, a) in codes.into_iter().enumerate() {
        for (j, b) in codes.into_iter().enumerate() {
            assert_eq!(a.or(b), codes[i.min(j)]);
        }
    }
}
