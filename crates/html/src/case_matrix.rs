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

/// More rows than this are folded.
const LONG: usize = 60;

/// How many cases a cell shows.
const MARKS: usize = 12;

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
            Some(matrix) => (matrix.draw(id, shown)),
            None => (list(id, cases, shown)),
        }
        p.legend.soft {
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

/// What a case that is a control has as its last part.
const CONTROL: &str = "control";

/// What a row is called, and of each column the cases, each with its number.
type MatrixRow<'r> = (String, Vec<Vec<(usize, &'r Case)>>);

/// Rows by source, mode and whatever follows the stressor, a column for each stressor and one for the controls.
struct CaseMatrix<'r> {
    columns: Vec<&'r str>,
    rows: Vec<MatrixRow<'r>>,
}

impl<'r> CaseMatrix<'r> {
    /// The matrix, if every name has the parts of one and there are several.
    fn of(cases: &'r [Case]) -> Option<Self> {
        if cases.len() < 4 {
            return None;
        }
        let mut columns: Vec<&str> = Vec::new();
        let mut at: BTreeMap<String, usize> = BTreeMap::new();
        let mut rows: Vec<MatrixRow<'_>> = Vec::new();
        for (number, case) in cases.iter().enumerate() {
            let (row, column) = place(case.name())?;
            let column = columns.iter().position(|known| *known == column).unwrap_or_else(|| {
                columns.push(column);
                columns.len() - 1
            });
            // More than a page has room for: a list is better.
            if columns.len() > COLUMNS {
                return None;
            }
            let row = *at.entry(row).or_insert_with_key(|key| {
                rows.push((key.clone(), Vec::new()));
                rows.len() - 1
            });
            let (_, cells) = rows.get_mut(row)?;
            if cells.len() <= column {
                cells.resize_with(column + 1, Vec::new);
            }
            cells.get_mut(column)?.push((number, case));
        }
        for (_, cells) in &mut rows {
            cells.resize_with(columns.len(), Vec::new);
            cells.iter_mut().for_each(|cell| cell.sort_by_key(|(_, case)| goodness(case)));
        }
        Some(Self { columns, rows })
    }

    fn draw(&self, id: &str, shown: &BTreeSet<usize>) -> Markup {
        html! {
            @if self.rows.len() > LONG {
                details {
                    summary { (count(self.rows.len() as u64, "row")) " of " (count(self.columns.len() as u64, "column")) }
                    (self.table(id, shown))
                }
            } @else { (self.table(id, shown)) }
        }
    }

    fn table(&self, id: &str, shown: &BTreeSet<usize>) -> Markup {
        let rows = LISTED_CASES / (self.columns.len() * MARKS).max(1);
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
                                td {
                                    @for (number, case) in cell.iter().take(MARKS) { (mark(id, *number, case, shown)) }
                                    @if cell.len() > MARKS { "+" (cell.len() - MARKS) }
                                }
                            }
                        }
                    }
                }
            }
            @if self.rows.len() > rows {
                p.soft { (count((self.rows.len() - rows) as u64, "more row")) " in the record." }
            }
        }
    }
}

/// The row and the column of a case, by its name.
fn place(name: &str) -> Option<(String, &str)> {
    let parts: Vec<&str> = name.split('/').collect();
    let stressor = *parts.get(STRESSOR)?;
    let (source, after) = (parts.get(..2)?, parts.get(STRESSOR + 1..)?);
    let (column, after) = match after {
        [after @ .., CONTROL] => (CONTROL, after),
        after => (stressor, after),
    };
    Some(([source, after].concat().join("/"), column))
}

fn goodness(case: &Case) -> u8 {
    match case.standing() {
        CaseStanding::Failed => 0,
        CaseStanding::Inconclusive => 1,
        CaseStanding::Passed => 2,
        CaseStanding::Skipped => 3,
    }
}

fn mark(id: &str, number: usize, case: &Case, shown: &BTreeSet<usize>) -> Markup {
    let standing = case.standing();
    let label = format!("{}: {}", name(case.name()), outcome(case));
    html! {
        @if shown.contains(&number) {
            a.(class(standing)) href=(format!("#{id}-c{number}")) aria-label=(label) title=(label) { (sign(standing)) }
        } @else {
            span.(class(standing)) role="img" aria-label=(label) title=(label) { (sign(standing)) }
        }
        " "
    }
}

fn list(id: &str, cases: &[Case], shown: &BTreeSet<usize>) -> Markup {
    html! {
        table.stack.cases {
            thead { tr { th scope="col" { "Case" } th scope="col" { "Verdict" } th.n scope="col" { "Dirty" } th.n scope="col" { "Lost" } } }
            tbody {
                @for (number, case) in cases.iter().enumerate().take(LISTED_CASES) {
                    tr {
                        th scope="row" data-label="Case" {
                            @if shown.contains(&number) {
                                a href=(format!("#{id}-c{number}")) { (name(case.name())) }
                            } @else { (name(case.name())) }
                        }
                        td data-label="Verdict" { (badge(case.standing(), &outcome(case))) }
                        td.n data-label="Dirty" { (crate::words::number(case.dirty_pages())) }
                        td.n data-label="Lost" { (crate::words::number(case.unexplained().count() as u64)) }
                    }
                }
            }
        }
        @if cases.len() > LISTED_CASES {
            p.soft { (count((cases.len() - LISTED_CASES) as u64, "more case")) " in the record." }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn a_name_has_its_place() {
        let at = |name| place(name).map(|(row, column)| (row, column.to_owned()));
        let cell = |row: &str, column: &str| Some((row.to_owned(), column.to_owned()));
        assert_eq!(at("kvm/get/shm/vcpus=1/once"), cell("kvm/get", "once"));
        assert_eq!(at("kvm/get/shm/vcpus=1/once/control"), cell("kvm/get", "control"));
        assert_eq!(
            at("kvm/ring/anon/vcpus=2/zero/granule=4k/va=48/host=16k"),
            cell("kvm/ring/granule=4k/va=48/host=16k", "zero")
        );
        assert_eq!(at("audit/pc.ram"), None);
    }
}
