//! The results for a person: a line for each case, every lost page, a summary.

pub mod comparison;
mod lost;
mod matrix;
mod summary;
mod table;

pub(crate) use summary::KVM_NOT_TESTED;

use crate::record::{Case, CaseStanding, JudgeKind, RunRecord};
use crate::text::{count, one_line, outcome, time};
use anstyle::{AnsiColor, Style};
use std::io::{self, IsTerminal, Write};
use table::{Cell, TextTable};

/// From how many cases on a matrix stands for those that need no attention.
const LONG: usize = 40;

/// Whether output to `to` should be coloured: it is a terminal, and NO_COLOR does not forbid it
/// (<https://no-color.org>: set, to anything but nothing).
pub fn wants_colour(to: &impl IsTerminal) -> bool {
    colour(to.is_terminal(), std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty()))
}

fn colour(terminal: bool, no_color: bool) -> bool {
    terminal && !no_color
}

/// Writes the results.
pub fn write(record: &RunRecord, to: &mut dyn Write, colour: bool) -> io::Result<()> {
    let listed = listed(record);
    if !listed.is_empty() {
        cases(listed.iter().copied()).write(to, "", colour)?;
        writeln!(to)?;
    }
    for case in &record.cases {
        lost::write(case, to, colour)?;
    }
    matrix::write(record, to, colour)?;
    summary::write(record, to, colour)
}

/// The cases that have a line: all, unless a matrix stands for those that passed, or were skipped.
fn listed(record: &RunRecord) -> Vec<&Case> {
    let (all, few) = (record.cases.iter(), record.cases.len() <= LONG);
    let told =
        |case: &&Case| matches!(case.standing(), CaseStanding::Passed | CaseStanding::Skipped);
    let in_matrix = |case: &&Case| !few && record.has_matrix() && told(case);
    all.filter(|case| !in_matrix(case)).collect()
}

fn cases<'c>(cases: impl Iterator<Item = &'c Case>) -> TextTable {
    let cases: Vec<&Case> = cases.collect();
    // Columns that most runs have no use for.
    let discards = cases.iter().any(|case| case.discarded_pages() > 0);
    let is_running = |case: &&Case| case.judge().is_some_and(|it| it.kind == JudgeKind::Running);
    let judged = cases.iter().any(is_running);
    let headings =
        ["VERDICT", "CASE", ">ROUNDS", ">DIRTY", ">LOST", ">DISCARDED", ">IN ROUNDS", "JUDGED", ""];
    let headings = headings.into_iter().filter(|heading| match *heading {
        ">DISCARDED" => discards,
        "JUDGED" => judged,
        _ => true,
    });
    let mut table = TextTable::new(&headings.collect::<Vec<_>>());
    for case in cases {
        let ran = case.standing() != CaseStanding::Skipped;
        let number = |text: String| Cell::plain(if ran { text } else { "-".to_owned() });
        // A skipped case's reason is in the summary, once for all that share it.
        let note = case.reason().filter(|_| ran).map(one_line).unwrap_or_default();
        let mut row = vec![
            Cell::styled(outcome(case), style(case.standing())),
            Cell::plain(one_line(case.name())),
            number(case.rounds().len().to_string()),
            number(case.dirty_pages().to_string()),
            // What a control found as it should was not lost by the log.
            number(case.unexplained().count().to_string()),
        ];
        row.extend(discards.then(|| number(case.discarded_pages().to_string())));
        row.push(number(time(case.time_in_rounds())));
        row.extend(judged.then(|| number(judge(case))));
        row.push(Cell::plain(note));
        table.push(row);
    }
    table
}

/// How a case was judged, in a few words.
fn judge(case: &Case) -> String {
    match case.judge() {
        None => JudgeKind::Paused.name().to_owned(),
        Some(judge) if judge.kind == JudgeKind::Paused => judge.kind.name().to_owned(),
        Some(judge) => {
            let sweeps = count(judge.sweeps, "sweep");
            match judge.suspects {
                0 => format!("{}, {sweeps}", judge.kind.name()),
                suspects => {
                    format!("{}, {sweeps}, {}", judge.kind.name(), count(suspects, "suspect"))
                }
            }
        }
    }
}

fn style(standing: CaseStanding) -> Style {
    match standing {
        CaseStanding::Passed => AnsiColor::Green.on_default(),
        CaseStanding::Failed => AnsiColor::Red.on_default().bold(),
        CaseStanding::Inconclusive => AnsiColor::Yellow.on_default().bold(),
        CaseStanding::Skipped => Style::new().dimmed(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn colour_needs_a_terminal_that_was_not_told_otherwise() {
        assert!(super::colour(true, false));
        assert!(!super::colour(true, true));
        assert!(!super::colour(false, false));
    }
}
