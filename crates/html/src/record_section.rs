//! Records as a page: of each the verdict, the cases, what was measured, how it came about.

use crate::limits::{BUDGET, NOTES};
use crate::marks::class;
use crate::words::{count, line, name};
use crate::{boards, case_matrix, case_section, frame, migration, provenance, sweep};
use maud::{Markup, html};
use memtwin_report::RunRecord;
use memtwin_report::headline::Headline;
use memtwin_report::record::{Case, CaseStanding};
use std::collections::{BTreeMap, BTreeSet};

/// How many cases that failed are unfolded; of others the first.
const OPEN: usize = 3;

/// A record, and what it is called: its file.
#[derive(Clone, Copy, Debug)]
pub struct TitledRecord<'r> {
    /// What it is called.
    pub title: &'r str,
    /// The record.
    pub record: &'r RunRecord,
}

/// The page of these records, smaller than [`MAX_BYTES`](crate::MAX_BYTES).
pub fn report_page(records: &[TitledRecord<'_>]) -> String {
    let together = Headline::of_all(records.iter().map(|titled| titled.record));
    let mut sections = vec![html! {
        header {
            h1 { "Memtwin report" }
            p.verdict.(class(together.standing)) { (together.sentence) }
        }
    }];
    let mut left = BUDGET;
    let mut shown = 0;
    for (at, titled) in records.iter().enumerate() {
        // What one leaves the others have.
        let share = left / (records.len() - at);
        let Some(section) = section(&format!("r{at}"), titled, records.len() > 1, share) else {
            break;
        };
        left = left.saturating_sub(section.0.len());
        sections.push(section);
        shown += 1;
    }
    if shown < records.len() {
        let more = count((records.len() - shown) as u64, "more record");
        sections.push(html! { p { (more) " had no room here: give them a page of their own." } });
    }
    let title = match records {
        [one] => format!("Memtwin: {}", name(one.title)),
        several => format!("Memtwin: {} records", several.len()),
    };
    frame::page(&title, &sections)
}

/// The section of a record, if it has room.
fn section(id: &str, titled: &TitledRecord<'_>, several: bool, room: usize) -> Option<Markup> {
    let TitledRecord { title, record } = titled;
    let rest = html! {
        @if let Some(moved) = &record.migration { (migration::section(id, moved)) }
        @if let Some(swept) = &record.sweep { (sweep::section(swept)) }
        (provenance::section(record))
    };
    let head = |shown: &BTreeSet<usize>| {
        html! {
            h2 { (name(title)) }
            @if several {
                @let headline = Headline::of(record);
                p.verdict.(class(headline.standing)) { (headline.sentence) }
            }
            (boards::section(record))
            (case_matrix::section(id, record, shown))
            (notes(record))
        }
    };
    // With every case linked it is as long as it can get.
    let all: BTreeSet<usize> = (0..record.cases.len()).collect();
    let fixed = head(&all).0.len() + rest.0.len();
    let cases = cases(id, &record.cases, room.checked_sub(fixed)?);
    let shown: BTreeSet<usize> = cases.keys().copied().collect();
    let left_out = record.cases.iter().filter(|case| has_pictures(case)).count() - shown.len();
    Some(html! {
        section id=(id) {
            (head(&shown))
            @if !cases.is_empty() { h3 { "Memory and rounds" } }
            @for case in cases.values() { (case) }
            @if left_out > 0 {
                p { (count(left_out as u64, "more case")) " had no room here; the record has them." }
            }
            (rest)
        }
    })
}

fn notes(record: &RunRecord) -> Markup {
    html! {
        @if !record.notes.is_empty() {
            h3 { "Notes of the run" }
            ul.notes { @for note in record.notes.iter().take(NOTES) { li { (line(note)) } } }
            @if record.notes.len() > NOTES {
                p.soft { (count((record.notes.len() - NOTES) as u64, "more note")) " in the record." }
            }
        }
    }
}

/// Whether there is more to show of a case than its verdict.
fn has_pictures(case: &Case) -> bool {
    case.standing() != CaseStanding::Skipped || !case.rounds().is_empty()
}

/// The sections of cases by their numbers, as many as there is room for: those first that need attention.
fn cases(id: &str, cases: &[Case], room: usize) -> BTreeMap<usize, Markup> {
    let mut order: Vec<usize> = (0..cases.len()).collect();
    let rank = |at: &usize| match cases.get(*at).map(Case::standing) {
        Some(CaseStanding::Failed) => 0,
        Some(CaseStanding::Inconclusive) => 1,
        _ => 2,
    };
    order.sort_by_key(rank);
    let (mut sections, mut left) = (BTreeMap::new(), room);
    for number in order {
        let Some(case) = cases.get(number).filter(|case| has_pictures(case)) else { continue };
        let needed = case.standing() == CaseStanding::Failed && sections.len() < OPEN;
        let open = needed || sections.is_empty();
        let section = case_section::section(id, number, case, open);
        let Some(less) = left.checked_sub(section.0.len()) else { break };
        left = less;
        sections.insert(number, section);
    }
    sections
}
