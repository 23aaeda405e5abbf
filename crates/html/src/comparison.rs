//! Two sides compared, as a page.

use crate::frame;
use crate::limits::{BUDGET, ROWS};
use crate::marks::{change_badge, change_class};
use crate::words::{count, name, sentence};
use maud::{Markup, html};
use memtwin_report::comparison::{CaseChange, Change, Comparison, MeasureChange};
use memtwin_report::human::comparison::before_and_after;

/// The page of a comparison, smaller than [`MAX_BYTES`](crate::MAX_BYTES). The titles say what was compared.
pub fn comparison_page(before: &[String], after: &[String], comparison: &Comparison) -> String {
    let worst = comparison.cases.first().map_or(Change::Same, |case| case.change);
    let mut rows = Vec::new();
    let mut left = BUDGET;
    for case in &comparison.cases {
        let row = row(case);
        let Some(less) = left.checked_sub(row.0.len()) else { break };
        left = less;
        rows.push(row);
    }
    let more = comparison.cases.len() - rows.len();
    let section = html! {
        header {
            h1 { "Memtwin comparison" }
            p.verdict.(change_class(worst)) { (comparison.headline()) }
        }
        dl {
            dt { "Before" } dd { (titles(before)) }
            dt { "After" } dd { (titles(after)) }
        }
        @if !comparison.settings.is_empty() {
            h2 { "In what the runs themselves differ" }
            ul { @for line in &comparison.settings { li { (sentence(line)) } } }
        }
        h2 { "Cases" }
        table.stack.comparison {
            thead { tr { th scope="col" { "Case" } th scope="col" { "Change" } th scope="col" { "Verdict" } th scope="col" { "Measured" } } }
            tbody { @for row in &rows { (row) } }
        }
        @if more > 0 { p { (count(more as u64, "more case")) " had no room here." } }
        p.soft {
            "A measure: before → after; of several runs the one in the middle, and the range. Times count only with "
            "three runs or more on each side, and only beyond the spread; lost pages count always."
        }
    };
    frame::page("Memtwin comparison", &[section])
}

fn titles(titles: &[String]) -> Markup {
    html! {
        @for (at, title) in titles.iter().take(ROWS).enumerate() { @if at > 0 { ", " } (name(title)) }
        @if titles.len() > ROWS { ", and " (count((titles.len() - ROWS) as u64, "more record")) }
    }
}

fn row(case: &CaseChange) -> Markup {
    html! {
        tr {
            th scope="row" data-label="Case" { (name(&case.name)) }
            td data-label="Change" { (change_badge(case.change)) }
            td data-label="Verdict" {
                @if case.why.is_empty() {
                    @if let Some(standings) = case.after { (standings) }
                } @else { (sentence(&case.why)) }
            }
            td data-label="Measured" { div { @for measure in &case.measures { (measured(measure)) } } }
        }
    }
}

fn measured(measure: &MeasureChange) -> Markup {
    let text = before_and_after(measure).replace("->", "→");
    let class = measure.change.filter(|change| *change != Change::Same).map(change_class);
    html! { div class=[class] { (name(measure.measure.name())) ": " (text) } }
}
