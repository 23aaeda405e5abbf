//! A page is no larger than it may be, whatever is in the record; and no text of a record is markup.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod sample;

use memtwin_html::{MAX_BYTES, TitledRecord, comparison_page, report_page};
use memtwin_pages::{Gpa, Layout, PageSize, Region};
use memtwin_report::comparison::Comparison;
use memtwin_report::record::{HeatMap, RecordedKind, RoundEntry};
use memtwin_report::{Case, CaseBuilder, RunRecord};
use sample::{PAGE, hostile, matrix};
use std::collections::BTreeMap;

fn page(record: &RunRecord) -> String {
    let page = report_page(&[TitledRecord { title: "run.json", record }]);
    assert!(page.len() < MAX_BYTES, "{} bytes", page.len());
    assert!(page.ends_with("</html>"));
    page
}

fn record(cases: Vec<Case>) -> RunRecord {
    RunRecord::new("memtwin check", cases)
}

#[test]
fn many_cases_of_long_names_have_their_number() {
    let name = "n".repeat(2_000);
    let long = |n: usize| Case::skipped(format!("{name}{n}"), &name, &name);
    let text = page(&record((0..5_000).map(long).collect()));
    assert!(text.contains("1,000 more cases in the record"), "{}", &text[..2_000]);
    // With the parts of a matrix, of rows and of columns.
    let case = |n: usize| Case::skipped(format!("a/{n}/c/d/e"), "s", "r");
    assert!(page(&record((0..5_000).map(case).collect())).contains("more rows in the record"));
    let case = |n: usize| Case::skipped(format!("a/b/c/d/{n}"), "s", "r");
    assert!(page(&record((0..5_000).map(case).collect())).contains("more cases in the record"));
}

#[test]
fn many_rounds_regions_and_notes_have_their_number() {
    let size = PageSize::new(PAGE).unwrap();
    let region =
        |n: u64| Region::new(format!("r{n}"), Gpa(n * PAGE * 600), PAGE * 600, size).unwrap();
    let layout = Layout::new((0..1_000).map(region).collect());
    let round = |n: u32| RoundEntry {
        n,
        kind: RecordedKind::Delta,
        dirty_pages: u64::MAX,
        sent_pages: u64::MAX,
        false_dirty_pages: u64::from(n),
        zero_pages: 0,
        bytes: u64::MAX,
        collect_us: u64::MAX,
        copy_us: 0,
        total_us: u64::MAX,
        started_us: None,
    };
    let heat: Vec<HeatMap> = (0..1_000).map(|_| HeatMap::of_pages(600)).collect();
    let case = CaseBuilder::new("audit/ram", "qemu", &layout).rounds((0..100_000).map(round));
    let case = case.heat(&heat);
    let case = case.judged(Vec::new(), BTreeMap::new());
    let text = page(&record(vec![case]).with_notes((0..1_000).map(|_| "x".repeat(5_000))));
    for words in
        ["952 more regions", "99,900 more rounds", "900 more notes", "417 rounds in each bar"]
    {
        assert!(text.contains(words), "no {words}");
    }
}

#[test]
fn many_records_share_a_page() {
    let matrix = matrix();
    let titled: Vec<_> = (0..9).map(|_| TitledRecord { title: "m", record: &matrix }).collect();
    let text = report_page(&titled);
    assert!(text.len() < MAX_BYTES, "{} bytes", text.len());
    assert!(text.contains("had no room here"));
    let one = page(&matrix);
    assert!(one.contains("id=\"r0-c0\""), "a record that has room shows its cases");
}

#[test]
fn many_changes_have_their_number() {
    let case =
        |n: usize| CaseBuilder::new(format!("{n}{}", "é".repeat(300)), "kvm", &Layout::default());
    let before = (0..12_000).map(|n| case(n).judged(Vec::new(), BTreeMap::new()));
    let comparison = Comparison::of(&[record(before.collect())], &[record(Vec::new())]);
    let text = comparison_page(&["a".to_owned()], &["b".to_owned()], &comparison);
    assert!(text.len() < MAX_BYTES, "{} bytes", text.len());
    assert!(text.contains("had no room here"));
}

/// Of text in a record only escaped forms are in the page. What a browser makes of it is seen elsewhere.
#[test]
fn no_text_of_a_record_is_markup() {
    let text = page(&hostile());
    for markup in ["<script", "<img", "<iframe", "<!--", "\u{1b}", "\u{202e}", "\u{0}"] {
        assert!(!text.contains(markup), "{markup:?}");
    }
    // The control: the texts are there.
    assert!(text.contains("&lt;script&gt;console.error"));
}
