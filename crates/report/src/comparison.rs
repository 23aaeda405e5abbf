//! Two runs, or two sets of runs, held against each other: what of the second is worse.
//!
//! A lost page and a verdict are facts; each counts by itself. A time is a measurement, and counts only where
//! several runs of a case show how far it scatters.

mod change;
mod measure;
mod runs;
mod settings;
mod spread;
mod verdicts;

pub use change::Change;
pub use measure::{Measure, MeasureChange, Unit};
pub use runs::Standings;
pub use spread::Spread;

use crate::ExitCode;
use crate::record::RunRecord;
use runs::CaseRuns;
use std::collections::BTreeMap;

/// A case of both sides, or of one.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseChange {
    /// Its name.
    pub name: String,
    /// The worst of its verdict's change and of its measures'.
    pub change: Change,
    /// What its runs came to before; nothing if it was not there.
    pub before: Option<Standings>,
    /// What they came to after.
    pub after: Option<Standings>,
    /// What became of the verdict.
    pub verdict: Change,
    /// Why it is that; empty if it is the same.
    pub why: String,
    /// What was measured.
    pub measures: Vec<MeasureChange>,
}

/// Two sides, compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The cases, those that are worse first, then in the order in which they ran.
    pub cases: Vec<CaseChange>,
    /// In what the runs themselves differ: the machine, the version, the seed.
    pub settings: Vec<String>,
}

impl Comparison {
    /// Compares the runs of before with those of after. Cases with the same name are runs of the same case.
    pub fn of(before: &[RunRecord], after: &[RunRecord]) -> Self {
        let mut order: Vec<&str> = Vec::new();
        let mut both: BTreeMap<&str, (CaseRuns<'_>, CaseRuns<'_>)> = BTreeMap::new();
        let sides = before.iter().map(|record| (false, record));
        for (is_after, record) in sides.chain(after.iter().map(|record| (true, record))) {
            for case in &record.cases {
                let (before, after) = both.entry(case.name()).or_insert_with(|| {
                    order.push(case.name());
                    Default::default()
                });
                (if is_after { after } else { before }).push(case);
            }
            if let Some(migration) = &record.migration {
                // The clocks of a move are of no single case: they have a name of their own.
                let (before, after) = both.entry(runs::MOVE).or_insert_with(|| {
                    order.push(runs::MOVE);
                    Default::default()
                });
                (if is_after { after } else { before }).push_migration(migration);
            }
        }
        let mut cases: Vec<CaseChange> =
            order.iter().filter_map(|name| Some(case_change(name, both.get(name)?))).collect();
        cases.sort_by_key(|case| std::cmp::Reverse(case.change));
        Self { cases, settings: settings::differences(before, after) }
    }

    /// How many cases became so.
    pub fn count(&self, change: Change) -> u64 {
        self.cases.iter().filter(|case| case.change == change).count() as u64
    }

    /// What the comparison ends with: a mismatch if anything is worse, inconclusive if something has no
    /// verdict any more, everything skipped if no case was judged on both sides, verified otherwise.
    pub fn exit_code(&self) -> ExitCode {
        let judged = |runs: Option<Standings>| runs.is_some_and(|runs| runs.judged() > 0);
        let any = self.cases.iter().any(|case| judged(case.before) && judged(case.after));
        match self {
            _ if self.count(Change::Worse) > 0 => ExitCode::Mismatch,
            _ if self.count(Change::Unknown) > 0 => ExitCode::Inconclusive,
            _ if !any => ExitCode::AllSkipped,
            _ => ExitCode::Verified,
        }
    }

    /// What it came to, in one sentence.
    pub fn headline(&self) -> String {
        let of = crate::text::count(self.cases.len() as u64, "case");
        let counts = Change::WORST_FIRST.map(|change| (self.count(change), change.name()));
        let counts = counts.into_iter().filter(|(n, _)| *n > 0);
        let counts: Vec<String> = counts.map(|(n, name)| format!("{n} {name}")).collect();
        match (self.exit_code(), counts.is_empty()) {
            (_, true) => "Nothing was compared: no record has a case.".to_owned(),
            (ExitCode::AllSkipped, _) => {
                format!("Nothing is known: no case was judged on both sides ({of}).")
            }
            _ => format!("{of}: {}.", counts.join(", ")),
        }
    }
}

fn case_change(name: &str, (before, after): &(CaseRuns<'_>, CaseRuns<'_>)) -> CaseChange {
    let (was, is) = (before.standings(), after.standings());
    let (verdict, why) = verdicts::change(was, is);
    let measures = measure::changes(before, after);
    let worst = measures.iter().filter_map(|measure| measure.change).max();
    CaseChange {
        name: name.to_owned(),
        change: verdict.max(worst.unwrap_or(Change::Same)),
        before: was,
        after: is,
        verdict,
        why,
        measures,
    }
}
