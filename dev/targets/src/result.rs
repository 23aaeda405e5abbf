//! What the audit of a board came to, and the table of all of them.

use crate::board::{BoardExpectation, TargetBoard};
use memtwin_report::record::{Case, Verdict};
use memtwin_report::{RunRecord, plain};
use std::fmt;

/// What the audit of a board came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoardVerdict {
    /// Every block that was judged is identical.
    Identical,
    /// Pages were lost.
    Differs,
    /// Nothing is proved.
    Inconclusive,
    /// It was not begun.
    Refused,
}

impl fmt::Display for BoardVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identical => "identical",
            Self::Differs => "differs",
            Self::Inconclusive => "inconclusive",
            Self::Refused => "refused",
        })
    }
}

/// A row of the table.
#[derive(Clone, Debug)]
pub struct BoardResult {
    /// The board.
    pub board: TargetBoard,
    /// The page size in bytes that QEMU said, if it came to that.
    pub page_bytes: Option<u64>,
    /// The verdict.
    pub verdict: BoardVerdict,
    /// Why, or what was seen, in a line.
    pub reason: String,
    /// Whether the control's pages were found, all of them and no others.
    pub control_found: bool,
}

impl BoardResult {
    /// What a record says.
    pub(crate) fn of(board: TargetBoard, record: &RunRecord) -> Self {
        let (controls, blocks): (Vec<&Case>, Vec<&Case>) =
            record.cases.iter().partition(|case| case.control().is_some());
        let control_found = controls.iter().any(|case| {
            case.passed() && case.control().is_some_and(|control| !control.injected.is_empty())
        });
        let of_verdict = |verdict| blocks.iter().filter(move |case| case.verdict() == verdict);
        let lost: usize = of_verdict(Verdict::Differs).map(|case| case.lost().len()).sum();
        let why_not = of_verdict(Verdict::Inconclusive).find_map(|case| case.reason());
        let identical = of_verdict(Verdict::Identical).count();
        let (verdict, reason) = match (lost, why_not) {
            (1.., _) => {
                let names: Vec<_> = of_verdict(Verdict::Differs).map(|case| case.name()).collect();
                (BoardVerdict::Differs, format!("{lost} pages lost: {}", names.join(", ")))
            }
            (0, Some(why)) => (BoardVerdict::Inconclusive, why.to_owned()),
            (0, None) if identical > 0 => {
                let rounds = blocks.iter().flat_map(|case| case.rounds());
                let dirty: u64 =
                    rounds.filter(|round| round.n > 0).map(|round| round.dirty_pages).sum();
                let found = controls.iter().filter_map(|case| case.control());
                let found: usize = found.map(|control| control.hits()).sum();
                let reason = format!(
                    "{identical} blocks; {dirty} pages logged; {found} withheld pages found"
                );
                (BoardVerdict::Identical, reason)
            }
            (0, None) => (BoardVerdict::Inconclusive, "no block was judged".to_owned()),
        };
        let pages = blocks.iter().map(|case| case.page_size()).max().filter(|bytes| *bytes > 0);
        Self { board, page_bytes: pages, verdict, reason, control_found }
    }

    /// What an audit said that was not begun.
    pub(crate) fn refused(board: TargetBoard, said: &str) -> Self {
        let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("nothing was said");
        let reason = plain(said.trim_start_matches("memtwin: ").trim_start_matches("error: "));
        let verdict = BoardVerdict::Refused;
        Self { board, page_bytes: None, verdict, reason, control_found: false }
    }

    /// Whether it is what the table expects.
    pub fn as_expected(&self) -> bool {
        let right_pages = self.page_bytes == Some(self.board.page_bytes);
        match self.board.expected {
            BoardExpectation::Sound => {
                self.verdict == BoardVerdict::Identical && self.control_found && right_pages
            }
            BoardExpectation::Loses(_) => self.verdict == BoardVerdict::Differs && right_pages,
            BoardExpectation::Refused(words) => {
                self.verdict == BoardVerdict::Refused && self.reason.contains(words)
            }
        }
    }

    /// As a row of [`markdown`].
    fn row(&self) -> String {
        let pages = self.page_bytes.map_or("-".to_owned(), |bytes| bytes.to_string());
        let (target, machine) = (self.board.target, self.board.machine);
        let machine = machine.split(',').next().unwrap_or(machine);
        let forced = if self.board.is_forced { ", `--force`" } else { "" };
        let reason = match (self.as_expected(), self.board.expected) {
            (true, BoardExpectation::Loses(why)) => format!("{}; {why}", self.reason),
            _ => self.reason.clone(),
        };
        let reason = reason.replace('|', "\\|");
        format!("| {target} | {machine}{forced} | {pages} | {} | {reason} |\n", self.verdict)
    }
}

impl fmt::Display for BoardResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TargetBoard { target, machine, expected, .. } = self.board;
        let pages = self.page_bytes.map_or("-".to_owned(), |bytes| bytes.to_string());
        write!(f, "{target:<15} {machine:<27} {pages:>6}  {:<12} {}", self.verdict, self.reason)?;
        if self.as_expected() { Ok(()) } else { write!(f, " (NOT as expected: {expected:?})") }
    }
}

/// The table of these results, for docs/qemu-targets.md.
pub fn markdown(results: &[BoardResult]) -> String {
    let mut table =
        "| target | machine | page size | verdict | reason |\n|---|---|---|---|---|\n".to_owned();
    table.extend(results.iter().map(BoardResult::row));
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BOARDS;

    fn board(expected: BoardExpectation) -> TargetBoard {
        TargetBoard { expected, page_bytes: 256, ..BOARDS[0] }
    }

    #[test]
    fn no_board_passes_without_its_control_or_with_other_pages() {
        let sound = BoardResult {
            board: board(BoardExpectation::Sound),
            page_bytes: Some(256),
            verdict: BoardVerdict::Identical,
            reason: String::new(),
            control_found: true,
        };
        assert!(sound.as_expected());
        assert!(!BoardResult { control_found: false, ..sound.clone() }.as_expected());
        assert!(!BoardResult { page_bytes: Some(4096), ..sound.clone() }.as_expected());
        assert!(!BoardResult { page_bytes: None, ..sound.clone() }.as_expected());
        for verdict in [BoardVerdict::Differs, BoardVerdict::Inconclusive, BoardVerdict::Refused] {
            assert!(!BoardResult { verdict, ..sound.clone() }.as_expected());
        }
        let nothing =
            BoardResult::of(board(BoardExpectation::Sound), &RunRecord::new("audit", vec![]));
        assert_eq!((nothing.verdict, nothing.as_expected()), (BoardVerdict::Inconclusive, false));
    }

    #[test]
    fn a_refusal_has_its_words_and_stays_a_row() {
        let refused =
            |said: &str| BoardResult::refused(board(BoardExpectation::Refused("spapr/htab")), said);
        let good = refused("memtwin: a | of spapr/htab\x1b\n");
        assert!(good.as_expected(), "{good:?}");
        assert!(!refused("QEMU is gone\n").as_expected());
        let table = markdown(&[good]);
        let row = table.lines().nth(2).unwrap();
        assert!(row.ends_with("| - | refused | a \\| of spapr/htab\\u{1b} |"), "{row}");
    }
}
