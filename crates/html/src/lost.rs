//! The lost pages of a case, by address: the first ones, and how many more.

use crate::limits::LOST_PAGES;
use crate::words::{count, name, number, sentence};
use maud::{Markup, html};
use memtwin_report::record::{Case, LostPage};

/// The pages that a case lost, those that a control found as it should, and those that it missed.
pub(crate) fn section(at: usize, case: &Case) -> Markup {
    let lost = case.unexplained().count();
    let found = case.lost().len() - lost;
    let missed = case.missed().count();
    html! {
        @if lost > 0 {
            h4.fail { (count(lost as u64, "page")) " lost" }
            (table(case, case.unexplained()))
            (more(at, lost))
        }
        @if missed > 0 {
            h4.fail { (count(missed as u64, "page")) " injected and not found" }
            ul {
                @for page in case.missed().take(LOST_PAGES) {
                    li { (name(&page.region)) " " code { (page.gpa) } }
                }
            }
            (more(at, missed))
        }
        @if found > 0 {
            details {
                summary { (count(found as u64, "page")) " injected and found" }
                @let injected = case.lost().iter().filter(|page| is_injected(case, page));
                (table(case, injected))
                (more(at, found))
            }
        }
    }
}

fn is_injected(case: &Case, page: &LostPage) -> bool {
    case.control().is_some_and(|control| control.injected.contains(&page.at()))
}

fn more(at: usize, pages: usize) -> Markup {
    html! {
        @if pages > LOST_PAGES {
            p {
                (count((pages - LOST_PAGES) as u64, "more page")) " in the record: "
                code { "jq '.cases[" (at) "].lost' RUN.json" }
            }
        }
    }
}

fn table<'r>(case: &Case, pages: impl Iterator<Item = &'r LostPage>) -> Markup {
    html! {
        table.stack.lost {
            thead { tr {
                th scope="col" { "GPA" } th scope="col" { "Region" } th scope="col" { "Page" }
                th scope="col" { "Last round" } th scope="col" { "First byte" } th scope="col" { "Bytes differ" }
                th scope="col" { "Hint" } th scope="col" { "Twin, memory" }
            } }
            tbody {
                @for page in pages.take(LOST_PAGES) {
                    tr {
                        td data-label="GPA" { code { (page.gpa) } }
                        td data-label="Region" { (name(&page.region)) }
                        td data-label="Page" { (number_of(case, page)) }
                        td data-label="Last round" { (page.last_round) }
                        td data-label="First byte" { (page.first_byte) }
                        td data-label="Bytes differ" { (number(page.bytes)) }
                        td data-label="Hint" { @if let Some(hint) = &page.hint { (sentence(hint)) } }
                        td data-label="Twin, memory" {
                            @if let Some(detail) = &page.detail {
                                span { code { (name(&detail.twin)) } " " code { (name(&detail.memory)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The page's number in its region, if it lies in it.
fn number_of(case: &Case, page: &LostPage) -> String {
    let number = match &page.detail {
        Some(detail) => detail.offset.checked_div(case.page_size()),
        None => case.page_number(&page.region, page.gpa),
    };
    number.map_or_else(|| "–".to_owned(), |number| number.to_string())
}
