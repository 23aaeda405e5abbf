//! The runs of a case on one side.

use crate::record::{Case, CaseStanding, Migration};
use std::fmt;

/// The name under which the clocks of a moved guest are compared.
pub(super) const MOVE: &str = "migrate (the clocks of the move)";

/// What the runs of a case came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standings {
    /// How many passed.
    pub passed: u64,
    /// How many failed.
    pub failed: u64,
    /// How many have no verdict.
    pub inconclusive: u64,
    /// How many did not run.
    pub skipped: u64,
}

impl Standings {
    /// How many runs there are.
    pub fn runs(self) -> u64 {
        self.passed + self.failed + self.inconclusive + self.skipped
    }

    /// How many have a verdict.
    pub fn judged(self) -> u64 {
        self.passed + self.failed
    }
}

impl fmt::Display for Standings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.passed, "passed"),
            (self.failed, "failed"),
            (self.inconclusive, "inconclusive"),
            (self.skipped, "skipped"),
        ];
        let runs = self.runs();
        let mut first = true;
        for (n, word) in parts.into_iter().filter(|(n, _)| *n > 0) {
            f.write_str(if first { "" } else { ", " })?;
            first = false;
            if runs == 1 { f.write_str(word)? } else { write!(f, "{n} {word}")? }
        }
        Ok(())
    }
}

/// The runs of a case on one side.
#[derive(Clone, Debug, Default)]
pub(super) struct CaseRuns<'r> {
    pub(super) cases: Vec<&'r Case>,
    pub(super) moves: Vec<&'r Migration>,
}

impl<'r> CaseRuns<'r> {
    pub(super) fn push(&mut self, case: &'r Case) {
        self.cases.push(case);
    }

    pub(super) fn push_migration(&mut self, migration: &'r Migration) {
        self.moves.push(migration);
    }

    /// Those that have a verdict: what broke off early has measured something else.
    pub(super) fn judged(&self) -> impl Iterator<Item = &'r Case> {
        let judged =
            |case: &&Case| matches!(case.standing(), CaseStanding::Passed | CaseStanding::Failed);
        self.cases.iter().copied().filter(judged)
    }

    /// What the cases came to; nothing if there is none. The clocks of a move are no verdict.
    pub(super) fn standings(&self) -> Option<Standings> {
        let mut standings = Standings::default();
        for case in &self.cases {
            *match case.standing() {
                CaseStanding::Passed => &mut standings.passed,
                CaseStanding::Failed => &mut standings.failed,
                CaseStanding::Inconclusive => &mut standings.inconclusive,
                CaseStanding::Skipped => &mut standings.skipped,
            } += 1;
        }
        (!self.cases.is_empty()).then_some(standings)
    }
}
