//! A sweep as a person reads it: a row for each move, what was predicted beside what was observed.

use super::load::missed;
use crate::bit_rate::BitRate;
use crate::driver::FailureReason;
use memtwin_report::record::{Achieved, Observed, Predicted, Smallest, Sweep, SweepCell};
use std::time::Duration;

/// The load of the reference setup, and the fastest that was then seen to converge over 1 Gbit/s.
const DIRTY_2014: u64 = 2048;
const FASTEST_2014: u64 = 20;

/// All of it.
pub(super) fn lines(sweep: &Sweep) -> Vec<String> {
    let mut lines = vec![format!(
        "sweep: dirtyram {} {} MS; without load the link carried {} at best; limited by {}; {} ms of downtime \
         allowed, {} s for each move",
        sweep.load_pages,
        sweep.load_dirty,
        rate(sweep.unloaded.bytes_per_second),
        sweep.limited_by,
        sweep.downtime_limit_us / 1000,
        sweep.timeout_us / 1_000_000,
    )];
    for load in &sweep.loads {
        let point =
            |us: u64, bytes: u64| format!("{:.1} MB in {} ms", bytes as f64 / 1e6, us / 1000);
        let curve: Vec<String> = load.curve.iter().map(|at| point(at.us, at.bytes)).collect();
        lines.push(format!(
            "every {} ms: {} before it moves{}; dirties {}",
            load.interval_ms,
            achieved(&load.achieved),
            if load.kept { "" } else { ": NOT THAT LOAD" },
            curve.join(", ")
        ));
    }
    lines.extend(table(sweep.cells.iter().map(row)));
    let disagree = sweep.cells.iter().filter(|cell| cell.agrees == Some(false)).count();
    let judged = sweep.cells.iter().filter(|cell| cell.agrees.is_some()).count();
    lines.push(format!("{} of {judged} came as foretold", judged - disagree));
    lines.extend(sweep.smallest.iter().flat_map(|found| smallest(found, sweep.load_dirty)));
    lines
}

fn row(cell: &SweepCell) -> [String; 7] {
    [
        format!("{} ms", cell.interval_ms),
        BitRate(cell.bits_per_second).to_string(),
        rate(cell.observed.bytes_per_second),
        achieved(&cell.observed.load),
        predicted(&cell.predicted),
        observed(&cell.observed),
        match cell.agrees {
            Some(true) => "",
            Some(false) => "DISAGREE",
            None => "says nothing",
        }
        .to_owned(),
    ]
}

fn table(rows: impl Iterator<Item = [String; 7]>) -> Vec<String> {
    let head = ["EVERY", "LINK", "CARRIED", "LOAD MEANWHILE", "FORETOLD", "OBSERVED", ""];
    let rows: Vec<[String; 7]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn rate(bytes_per_second: u64) -> String {
    BitRate(bytes_per_second.saturating_mul(8)).to_string()
}

fn achieved(load: &Achieved) -> String {
    let missed = missed(load) * 100.0;
    format!("{} pages/s, {missed:.0} % missed", load.pages_per_second)
}

fn seconds(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64()
}

fn predicted(foretold: &Predicted) -> String {
    match (foretold.outcome.as_str(), foretold.rounds, foretold.us) {
        ("converges", Some(rounds), Some(us)) => {
            format!("converges, {rounds} rounds, {:.1} s", seconds(us))
        }
        ("too-late", _, Some(us)) => format!("too late, {:.0} s", seconds(us)),
        (outcome, ..) => outcome.to_owned(),
    }
}

/// What came of a move, for a person.
pub(super) fn observed(observed: &Observed) -> String {
    let (rounds, took) = (observed.rounds, seconds(observed.us));
    match (&observed.reason, observed.downtime_us) {
        (None, still) => {
            let still = still.unwrap_or_default() / 1000;
            format!("moved, {rounds} rounds, {took:.1} s, {still} ms still")
        }
        (Some(why), _) if *why == FailureReason::NotConverged.to_string() => {
            format!("not in {took:.0} s, {rounds} rounds")
        }
        (Some(why), _) => format!("not moved after {rounds} rounds, {took:.1} s: {why}"),
    }
}

fn smallest(found: &Smallest, dirty: u64) -> Vec<String> {
    let link = BitRate(found.bits_per_second);
    let Some(interval) = found.interval_ms else {
        return vec![format!(
            "no load from {} to {} ms was seen to converge on {link} and to be as it was asked for{}",
            found.low_ms,
            found.high_ms,
            found.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default()
        )];
    };
    let why = match &found.why {
        Some(why) => why.clone(),
        None => format!("nothing smaller than {} ms was tried", found.low_ms),
    };
    let mut lines = vec![format!(
        "the smallest interval that the load kept and that converges on {link}: {interval} ms; {why}"
    )];
    let then = if dirty == DIRTY_2014 {
        String::new()
    } else {
        let scaled = (interval * DIRTY_2014) as f64 / dirty as f64;
        format!("as many pages per second as {DIRTY_2014} every {scaled:.0} ms; ")
    };
    lines.push(format!(
        "{then}the specification of 2014 says {FASTEST_2014} ms for its {DIRTY_2014} (docs/migrate.md)"
    ));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(outcome: &str, moved: bool, agrees: Option<bool>) -> SweepCell {
        let load = Achieved { pages_per_second: 3260, batches: 20, missed: 0 };
        let reason = (!moved).then(|| FailureReason::NotConverged.to_string());
        SweepCell {
            interval_ms: 50,
            bits_per_second: 100_000_000,
            predicted: Predicted {
                outcome: outcome.to_owned(),
                rounds: Some(3),
                us: Some(17_200_000),
            },
            observed: Observed {
                moved,
                reason,
                rounds: 4,
                us: 16_900_000,
                bytes: 1,
                bytes_per_second: 12_500_000,
                downtime_us: moved.then_some(280_000),
                load,
            },
            agrees,
        }
    }

    #[test]
    fn a_disagreement_is_shown() {
        let cells = [
            cell("converges", true, Some(true)),
            cell("never", true, Some(false)),
            cell("never", false, Some(true)),
        ];
        let rows = table(cells.iter().map(row));
        assert_eq!(
            rows[1],
            "50 ms  100 Mbit/s  100 Mbit/s  3260 pages/s, 0 % missed  converges, 3 rounds, 17.2 s  \
             moved, 4 rounds, 16.9 s, 280 ms still"
        );
        assert!(rows[2].ends_with(
            "never                        moved, 4 rounds, 16.9 s, 280 ms still  DISAGREE"
        ));
        assert!(rows[3].contains("not in 17 s, 4 rounds"));
        assert_eq!(rows.iter().filter(|row| row.contains("DISAGREE")).count(), 1);
    }

    #[test]
    fn the_smallest_interval_stands_beside_that_of_2014() {
        let found = Smallest {
            bits_per_second: 1_000_000_000,
            low_ms: 1,
            high_ms: 50,
            interval_ms: Some(6),
            why: Some("5 ms did not converge".to_owned()),
        };
        let lines = smallest(&found, 163);
        assert!(lines[0].ends_with("on 1 Gbit/s: 6 ms; 5 ms did not converge"), "{lines:?}");
        assert!(
            lines[1].starts_with("as many pages per second as 2048 every 75 ms; "),
            "{lines:?}"
        );
        assert!(smallest(&found, 2048)[1].starts_with("the specification of 2014 says 20 ms"));
        let none = Smallest { interval_ms: None, ..found };
        assert!(smallest(&none, 163)[0].starts_with("no load from 1 to 50 ms was seen"));
    }
}
