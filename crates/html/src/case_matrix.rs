//! The cases as a matrix, where their names have the parts of one, and as a list where not.

use crate::limits::{COLUMNS, LISTED_CASES, ROWS};
use crate::marks::{badge, class, sign};
use crate::words::{count, name, sentence};
use maud::{Markup, html};
use memtwin_report::outcome;
use memtwin_report::record::{Case, CaseStanding, RunRecord};
use std::collections::{BTreeMap, BTreeSet};

/// Where the stressor stands in the name of a case: `SOURCE/MODE/BACKING/vcpus=N/STRESSOR`.
const STRESSOR: usize = 4;

/// How many skipped cases share a reason before it is said once.
type Reasons<'r> = BTreeMap<&'r str, u64>;

/// The cases of a record. Those in `shown` have a section of their own, `id` and their number.
pub(crate) fn section(id: &str, record: &RunRecord, shown: &BTreeSet<usize>) -> Markup {
    let cases = &record.cases;
    let mut reasons = Reasons::new();
    for case in cases.iter().filter(|case| case.standing() == CaseStanding::Skipped) {
        *reasons.entry(case.reason().unwrap_or_default()).or_default() += 1;
    }
    html! {
        h3 { "Cases" }
        @match CaseMatrix::of(cases) {
            Some(matrix) => (matrix.table(id, shown)),
            None => (list(id, cases, shown)),
        }
        p.soft {
            @for standing in [CaseStanding::Passed, CaseStanding::Failed, CaseStanding::Inconclusive, CaseStanding::Skipped] {
                span.(class(standing)) { (sign(standing)) " " (meaning(standing)) } " "
            }
        }
        @for (reason, n) in reasons.iter().take(ROWS) {
            p.soft { (count(*n, "case")) " skipped: " (sentence(reason)) }
        }
        @if reasons.len() > ROWS {
            p.soft { (count((reasons.len() - ROWS) as u64, "more reason")) " in the record." }
        }
    }
}

fn meaning(standing: CaseStanding) -> &'static str {
    match standing {
        CaseStanding::Passed => "identical, or a control that was found",
        CaseStanding::Failed => "differs",
        CaseStanding::Inconclusive => "inconclusive",
        CaseStanding::Skipped => "skipped",
    }
}

/// Rows by all of a name but its stressor, columns by the stressor.
struct CaseMatrix<'r> {
    columns: Vec<&'r str>,
    rows: Vec<(String, Vec<Option<(usize, &'r Case)>>)>,
    /// Cases that have no place of their own.
    more: usize,
}

impl<'r> CaseMatrix<'r> {
    /// The matrix, if every name has the parts of one and there are several.
    fn of(cases: &'r [Case]) -> Option<Self> {
        let stressor = |case: &'r Case| case.name().split('/').nth(STRESSOR);
        if cases.len() < 4 || !cases.iter().all(|case| stressor(case).is_some()) {
            return None;
        }
        let mut columns: Vec<&str> = Vec::new();
        for stressor in cases.iter().filter_map(stressor) {
            if !columns.contains(&stressor) {
                columns.push(stressor);
            }
            // More than a page has room for: a list is better.
            if columns.len() > COLUMNS {
                return None;
            }
        }
        let mut at: BTreeMap<String, usize> = BTreeMap::new();
        let mut rows: Vec<(String, Vec<Option<(usize, &Case)>>)> = Vec::new();
        let mut more = 0;
        for (number, case) in cases.iter().enumerate() {
            let mut parts: Vec<&str> = case.name().split('/').collect();
            let stressor = parts.remove(STRESSOR);
            let row = *at.entry(parts.join("/")).or_insert_with_key(|key| {
                rows.push((key.clone(), vec![None; columns.len()]));
                rows.len() - 1
            });
            let column = columns.iter().position(|column| *column == stressor)?;
            let cell = rows.get_mut(row).and_then(|(_, cells)| cells.get_mut(column))?;
            // Of several runs of a case the worst is shown.
            match cell {
                Some((_, there)) if badness(there) >= badness(case) => more += 1,
                cell => {
                    more += usize::from(cell.is_some());
                    *cell = Some((number, case));
                }
            }
        }
        Some(Self { columns, rows, more })
    }

    fn table(&self, id: &str, shown: &BTreeSet<usize>) -> Markup {
        let rows = LISTED_CASES / self.columns.len().max(1);
        html! {
            table.matrix {
                thead { tr {
                    th.row scope="col" { "Case" }
                    @for column in &self.columns { th scope="col" { span { (name(column)) } } }
                } }
                tbody {
                    @for (row, cells) in self.rows.iter().take(rows) {
                        tr {
                            th.row scope="row" { (name(row)) }
                            @for cell in cells {
                                @match cell {
                                    Some((number, case)) => (square(id, *number, case, shown)),
                                    None => td {},
                                }
                            }
                        }
                    }
                }
            }
            @if self.rows.len() > rows {
                p.soft { (count((self.rows.len() - rows) as u64, "more row")) " in the record." }
            }
            @if self.more > 0 {
                p.soft { (count(self.more as u64, "more run")) " of the same cases: a cell shows the worst." }
            }
        }
    }
}

fn badness(case: &Case) -> u8 {
    match case.standing() {
        CaseStanding::Skipped => 0,
        CaseStanding::Passed => 1,
        CaseStanding::Inconclusive => 2,
        CaseStanding::Failed => 3,
    }
}

fn square(id: &str, number: usize, case: &Case, shown: &BTreeSet<usize>) -> Markup {
    let standing = case.standing();
    let mark = html! { span role="img" aria-label=(outcome(case)) title=(outcome(case)) { (sign(standing)) } };
    html! {
        td.(class(standing)) {
            @if shown.contains(&number) { a href=(format!("#{id}-c{number}")) { (mark) } } @else { (mark) }
        }
    }
}

fn list(id: &str, cases: &[Case], shown: &BTreeSet<usize>) -> Markup {
    html! {
        table.cases {
            thead { tr { th scope="col" { "Case" } th scope="col" { "Verdict" } th.n scope="col" { "Dirty" } th.n scope="col" { "Lost" } } }
            tbody {
                @for (number, case) in cases.iter().enumerate().take(LISTED_CASES) {
                    tr {
                        th scope="row" {
                            @if shown.contains(&number) {
                                a href=(format!("#{id}-c{number}")) { (name(case.name())) }
                            } @else { (name(case.name())) }
                        }
                        td { (badge(case.standing(), &outcome(case))) }
                        td.n { (crate::words::number(case.dirty_pages())) }
                        td.n { (crate::words::number(case.unexplained().count() as u64)) }
                    }
                }
            }
        }
        @if cases.len() > LISTED_CASES {
            p.soft { (count((cases.len() - LISTED_CASES) as u64, "more case")) " in the record." }
        }
    }
}
