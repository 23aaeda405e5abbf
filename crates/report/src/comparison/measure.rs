//! What is measured of a case, and what became of it.

use super::change::Change;
use super::runs::CaseRuns;
use super::spread::Spread;
use crate::record::{Case, RecordedKind, RoundEntry, total};
use std::collections::BTreeSet;

/// How many clocks are compared; a move has five.
const CLOCKS: usize = 32;

/// Something that a run has a number of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Pages that were lost and not injected.
    LostPages,
    /// Which part of the pages that were sent after pre-copy were in the twin already.
    FalseDirty,
    /// Bytes per second that the log named after pre-copy, by the rounds' start times.
    DirtyRate,
    /// How long a collection took, on average.
    Collect,
    /// How long the rounds took for which the guest stood still.
    FinalRounds,
    /// The longest time that the guest stood still for us.
    Pause,
    /// How long a clock saw a moved guest stand still, without the time for judging.
    Clock(String),
}

/// In what a measure is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Pages.
    Pages,
    /// A part of one.
    Ratio,
    /// Bytes per second.
    BytesPerSecond,
    /// Microseconds.
    Microseconds,
}

/// What became of a measure.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasureChange {
    /// Which.
    pub measure: Measure,
    /// Before, if it was measured.
    pub before: Option<Spread>,
    /// After.
    pub after: Option<Spread>,
    /// What became of it; nothing where it is not judged: one side has no number, the spread is not known, or
    /// neither direction is the better one.
    pub change: Option<Change>,
}

impl Measure {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::LostPages => "lost pages",
            Self::FalseDirty => "false dirty",
            Self::DirtyRate => "dirty rate",
            Self::Collect => "collect",
            Self::FinalRounds => "final rounds",
            Self::Pause => "pause",
            Self::Clock(name) => name,
        }
    }

    /// Its unit.
    pub fn unit(&self) -> Unit {
        match self {
            Self::LostPages => Unit::Pages,
            Self::FalseDirty => Unit::Ratio,
            Self::DirtyRate => Unit::BytesPerSecond,
            Self::Collect | Self::FinalRounds | Self::Pause | Self::Clock(_) => Unit::Microseconds,
        }
    }

    fn of(&self, case: &Case) -> Option<f64> {
        let after_precopy =
            || case.rounds().iter().filter(|round| round.kind != RecordedKind::PreCopy);
        let sum = |of: fn(&RoundEntry) -> u64| total(after_precopy().map(of)) as f64;
        match self {
            Self::LostPages => Some(case.unexplained().count() as f64),
            Self::FalseDirty => {
                let sent = sum(|round| round.sent_pages);
                (sent > 0.0).then(|| sum(|round| round.false_dirty_pages) / sent)
            }
            Self::DirtyRate => dirty_rate(case),
            Self::Collect => {
                let rounds = after_precopy().count();
                (rounds > 0).then(|| sum(|round| round.collect_us) / rounds as f64)
            }
            Self::Pause => case.guest_pause().map(|pause| pause.as_micros() as f64),
            Self::FinalRounds => {
                let still = case.rounds().iter().filter(|round| round.kind == RecordedKind::Final);
                let times: Vec<u64> = still.map(|round| round.total_us).collect();
                (!times.is_empty()).then(|| total(times.into_iter()) as f64)
            }
            Self::Clock(_) => None,
        }
    }

    fn change(&self, before: Spread, after: Spread) -> Option<Change> {
        match self {
            // Pages that are lost are counted, not measured: one run is enough.
            Self::LostPages if after.least > before.most => Some(Change::Worse),
            Self::LostPages if after.most < before.least => Some(Change::Better),
            Self::LostPages => Some(Change::Same),
            // A guest that dirties more may run faster, or be logged worse: the ratio above says which.
            Self::DirtyRate => None,
            Self::FalseDirty | Self::Collect | Self::FinalRounds | Self::Pause | Self::Clock(_) => {
                before.change(after)
            }
        }
    }
}

/// The bytes that the log named after pre-copy by the time from the first round to the last one that the guest
/// ran in, where the record says when they began.
fn dirty_rate(case: &Case) -> Option<f64> {
    let deltas = || case.rounds().iter().filter(|round| round.kind == RecordedKind::Delta);
    let began = case.rounds().first()?.started_us?;
    let ended = deltas().next_back()?.started_us?;
    let us = ended.checked_sub(began).filter(|us| *us > 0)?;
    let pages = total(deltas().map(|round| round.dirty_pages));
    Some(pages as f64 * case.page_size() as f64 * 1e6 / us as f64)
}

/// What became of each measure that one side has.
pub(super) fn changes(before: &CaseRuns<'_>, after: &CaseRuns<'_>) -> Vec<MeasureChange> {
    let mut found = Vec::new();
    let mut push = |measure: Measure, before: Vec<f64>, after: Vec<f64>| {
        let (before, after) = (Spread::of(before), Spread::of(after));
        let change = match (before, after) {
            (None, None) => return,
            (Some(before), Some(after)) => measure.change(before, after),
            _ => None,
        };
        found.push(MeasureChange { measure, before, after, change });
    };
    for measure in [
        Measure::LostPages,
        Measure::FalseDirty,
        Measure::DirtyRate,
        Measure::Collect,
        Measure::FinalRounds,
        Measure::Pause,
    ] {
        let of = |runs: &CaseRuns<'_>| {
            runs.judged().filter_map(|case| measure.of(case)).collect::<Vec<f64>>()
        };
        let (before, after) = (of(before), of(after));
        push(measure, before, after);
    }
    for name in clocks(before, after) {
        let of = |runs: &CaseRuns<'_>| {
            let clocks = runs.moves.iter().flat_map(|moved| &moved.clocks);
            let named = clocks.filter(|clock| clock.name == name);
            named.map(|clock| clock.without_verify_us as f64).collect()
        };
        push(Measure::Clock(name.clone()), of(before), of(after));
    }
    found
}

/// The clocks of both sides, each once, in their order.
fn clocks(before: &CaseRuns<'_>, after: &CaseRuns<'_>) -> Vec<String> {
    let clocks = before.moves.iter().chain(&after.moves).flat_map(|moved| &moved.clocks);
    let mut seen = BTreeSet::new();
    clocks
        .filter(|clock| seen.insert(&clock.name))
        .take(CLOCKS)
        .map(|clock| clock.name.clone())
        .collect()
}
