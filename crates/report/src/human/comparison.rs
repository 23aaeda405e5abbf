//! A comparison for a person: a line for each case that is no longer the same, and a summary.

use super::table::{Cell, TextTable, paint};
use crate::comparison::{CaseChange, Change, Comparison, Measure, MeasureChange, Spread, Unit};
use crate::text::{clipped, count, time};
use anstyle::{AnsiColor, Style};
use std::io::{self, Write};
use std::time::Duration;

/// Up to how many cases each has a line, the same ones too.
const FEW: usize = 40;

/// How many lines there are at most.
const LINES: usize = 200;

/// How many characters of a name or a reason are shown.
const SHOWN: usize = 160;

/// Writes it. What it came to is the last line.
pub fn write(comparison: &Comparison, to: &mut dyn Write, colour: bool) -> io::Result<()> {
    for line in &comparison.settings {
        writeln!(to, "differs: {line}")?;
    }
    let all = comparison.cases.len() <= FEW;
    let listed = |case: &&CaseChange| all || case.change != Change::Same || !case.why.is_empty();
    let listed: Vec<&CaseChange> = comparison.cases.iter().filter(listed).collect();
    if !listed.is_empty() {
        table(&listed[..listed.len().min(LINES)]).write(to, "", colour)?;
        if listed.len() > LINES {
            let more = count((listed.len() - LINES) as u64, "more case");
            writeln!(to, "… {more}: -o FILE writes them all")?;
        }
        writeln!(to)?;
    }
    let worst = comparison.cases.first().map_or(Change::Same, |case| case.change);
    writeln!(to, "{}", paint(&comparison.headline(), style(worst), colour))
}

fn table(cases: &[&CaseChange]) -> TextTable {
    // Each kind of measure that one of them has, clocks apart.
    let kinds = [
        (Measure::LostPages, ">LOST"),
        (Measure::FalseDirty, ">FALSE DIRTY"),
        (Measure::DirtyRate, ">DIRTY RATE"),
        (Measure::Collect, ">COLLECT"),
        (Measure::FinalRounds, ">FINAL ROUNDS"),
        (Measure::Pause, ">PAUSE"),
    ];
    let has = |kind: &Measure| {
        cases.iter().any(|case| case.measures.iter().any(|measure| measure.measure == *kind))
    };
    let kinds: Vec<_> = kinds.into_iter().filter(|(kind, _)| has(kind)).collect();
    let mut headings = vec!["CHANGE", "CASE"];
    headings.extend(kinds.iter().map(|(_, heading)| heading));
    headings.push("");
    let mut table = TextTable::new(&headings);
    for case in cases {
        let mut row = vec![
            Cell::styled(case.change.name(), style(case.change)),
            Cell::plain(clipped(&case.name, SHOWN)),
        ];
        row.extend(kinds.iter().map(|(kind, _)| {
            let found = case.measures.iter().find(|measure| measure.measure == *kind);
            found.map_or(Cell::plain("-"), |measure| {
                Cell::styled(
                    before_and_after(measure),
                    style(measure.change.unwrap_or(Change::Same)),
                )
            })
        }));
        row.push(Cell::plain(beside(case)));
        table.push(row);
    }
    table
}

/// Why a verdict changed, and what the clocks of a move say.
fn beside(case: &CaseChange) -> String {
    let clock = |measure: &MeasureChange| match &measure.measure {
        Measure::Clock(name) => {
            Some(format!("{}: {}", clipped(name, SHOWN), before_and_after(measure)))
        }
        _ => None,
    };
    let why = (!case.why.is_empty()).then(|| clipped(&case.why, SHOWN));
    why.into_iter().chain(case.measures.iter().filter_map(clock)).collect::<Vec<_>>().join("; ")
}

/// `1.2 ms -> 3.4 ms`, each with its range where there were several runs.
pub fn before_and_after(measure: &MeasureChange) -> String {
    let unit = measure.measure.unit();
    let side = |side: Option<Spread>| side.map_or("-".to_owned(), |side| spread(side, unit));
    let (before, after) = (side(measure.before), side(measure.after));
    let judged =
        if measure.change.is_some_and(|change| change != Change::Same) { " !" } else { "" };
    match before == after {
        true => before,
        false => format!("{before} -> {after}{judged}"),
    }
}

fn spread(side: Spread, unit: Unit) -> String {
    let median = quantity(side.median, unit);
    match side.runs {
        1 => median,
        runs => format!(
            "{median} ({} to {} of {runs})",
            quantity(side.least, unit),
            quantity(side.most, unit)
        ),
    }
}

/// A number in its unit.
pub fn quantity(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Pages => format!("{value:.0}"),
        Unit::Ratio => format!("{:.1} %", value * 100.0),
        Unit::BytesPerSecond if value >= 1e6 => format!("{:.1} MB/s", value / 1e6),
        Unit::BytesPerSecond => format!("{:.1} kB/s", value / 1e3),
        // A duration has fewer microseconds than a record may claim.
        Unit::Microseconds => time(Duration::from_micros(value as u64)),
    }
}

fn style(change: Change) -> Style {
    match change {
        Change::Worse => AnsiColor::Red.on_default().bold(),
        Change::Unknown => AnsiColor::Yellow.on_default().bold(),
        Change::Better => AnsiColor::Green.on_default(),
        Change::Same => Style::new(),
    }
}
