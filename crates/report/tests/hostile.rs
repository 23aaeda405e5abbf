//! Names, reasons and hints come from outside: whatever they hold, a reader of KTAP or JUnit sees
//! the cases as they are.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod sample;

use memtwin_report::record::{CaseBuilder, CaseStanding, LostPage, PageAt};
use memtwin_report::{Case, Format, write_report};
use proptest::prelude::*;
use quick_xml::events::Event;
use sample::{gpa, layout, run};
use std::collections::BTreeMap;

/// What a reader of KTAP makes of a result line.
#[derive(Debug, PartialEq)]
struct Outcome {
    ok: bool,
    directive: String,
}

/// Reads KTAP as its document has it. Errors at a line that is none of its kinds, a number out of
/// order, a plan that is not kept.
fn read_ktap(text: &str) -> Result<Vec<Outcome>, String> {
    let mut lines = text.lines();
    if lines.next() != Some("KTAP version 1") {
        return Err("no version".into());
    }
    let plan = lines.next().and_then(|line| line.strip_prefix("1..")).ok_or("no plan")?;
    let plan: usize = plan.parse().map_err(|_| "no plan")?;
    let mut outcomes = Vec::new();
    for line in lines.filter(|line| !line.starts_with("# ")) {
        let (ok, rest) = match line.strip_prefix("not ") {
            Some(rest) => (false, rest),
            None => (true, line),
        };
        let rest = rest.strip_prefix("ok ").ok_or_else(|| format!("unknown line {line:?}"))?;
        let (number, rest) = rest.split_once(' ').ok_or_else(|| format!("no name in {line:?}"))?;
        if number.parse() != Ok(outcomes.len() + 1) {
            return Err(format!("out of order: {line:?}"));
        }
        let directive = rest.split_once('#').map_or("", |(_, after)| after.trim());
        let directive = directive.split(' ').next().unwrap_or("").to_owned();
        outcomes.push(Outcome { ok, directive });
    }
    let last = text.lines().last().unwrap_or("");
    match (outcomes.len() == plan, last.starts_with("# Totals: pass:")) {
        (true, true) => Ok(outcomes),
        (false, _) => Err(format!("{} results of {plan} planned", outcomes.len())),
        (_, false) => Err("no totals".into()),
    }
}

fn written(cases: &[Case], format: Format) -> String {
    let mut bytes = Vec::new();
    write_report(&run(cases.to_vec()), format, &mut bytes, false).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// How many elements of each name there are. Errors if it is not well-formed.
fn read_xml(text: &str) -> Result<BTreeMap<String, u64>, String> {
    let mut reader = quick_xml::Reader::from_str(text);
    let mut names = BTreeMap::new();
    let mut open = 0;
    loop {
        let event = reader.read_event().map_err(|error| error.to_string())?;
        match &event {
            Event::Start(element) | Event::Empty(element) => {
                for attribute in element.attributes() {
                    attribute.map_err(|error| error.to_string())?;
                }
                let name = String::from_utf8_lossy(element.name().as_ref()).into_owned();
                *names.entry(name).or_default() += 1;
                open += i32::from(matches!(event, Event::Start(_)));
            }
            Event::End(_) => open -= 1,
            Event::Eof if open == 0 => return Ok(names),
            Event::Eof => return Err("an element is not closed".into()),
            _ => {}
        }
    }
}

/// Text that would break a line, a directive, a terminal or an element.
fn text() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        Just("\nnot ok 1 forged".to_owned()),
        Just("\r\nok 2 forged # SKIP".to_owned()),
        Just(" # SKIP ".to_owned()),
        Just("#".to_owned()),
        Just("\u{1b}[2J\u{0}".to_owned()),
        Just("\u{2028}\u{85}\u{202e}".to_owned()),
        Just("</testcase>\"'&<![CDATA[]]>".to_owned()),
        any::<String>(),
    ];
    prop::collection::vec(pieces, 0..4).prop_map(|pieces| pieces.concat())
}

fn case() -> impl Strategy<Value = Case> {
    (0..6u8, text(), text(), text(), text()).prop_map(|(kind, name, source, reason, region)| {
        let page = PageAt { region: region.clone(), gpa: gpa(1) };
        let lost = vec![LostPage {
            region,
            gpa: gpa(1),
            last_round: 1,
            first_byte: 0,
            bytes: 1,
            hint: Some(reason.clone()),
            detail: None,
        }];
        let trial = CaseBuilder::new(name.clone(), source.clone(), &layout());
        match kind {
            0 => trial.judged(vec![], BTreeMap::new()),
            1 => trial.judged(lost, BTreeMap::new()),
            2 => trial.control([page]).judged(lost, BTreeMap::new()),
            3 => trial.control([page]).judged(vec![], BTreeMap::new()),
            4 => trial.inconclusive(reason, vec![]),
            _ => Case::skipped(name, source, reason),
        }
    })
}

proptest! {
    #[test]
    fn ktap_is_read_as_it_was_meant(cases in prop::collection::vec(case(), 0..8)) {
        let text = written(&cases, Format::Ktap);
        let read = read_ktap(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        for (case, outcome) in cases.iter().zip(&read) {
            let standing = match (outcome.ok, outcome.directive.as_str()) {
                (true, "SKIP") => CaseStanding::Skipped,
                (false, "ERROR") => CaseStanding::Inconclusive,
                (true, _) => CaseStanding::Passed,
                (false, _) => CaseStanding::Failed,
            };
            prop_assert_eq!(standing, case.standing(), "{}", text);
        }
        prop_assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{:?}", text);
    }

    #[test]
    fn junit_is_well_formed_and_counts_right(cases in prop::collection::vec(case(), 0..8)) {
        let text = written(&cases, Format::Junit);
        let names = read_xml(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        let count = |name: &str| names.get(name).copied().unwrap_or(0);
        let standing = |it: CaseStanding| cases.iter().filter(|case| case.standing() == it).count() as u64;
        prop_assert_eq!(count("testsuite"), 1);
        prop_assert_eq!(count("testcase"), cases.len() as u64);
        prop_assert_eq!(count("failure"), standing(CaseStanding::Failed));
        prop_assert_eq!(count("error"), standing(CaseStanding::Inconclusive));
        prop_assert_eq!(count("skipped"), standing(CaseStanding::Skipped));
    }

    #[test]
    fn the_table_never_steers_the_terminal(cases in prop::collection::vec(case(), 0..8)) {
        let text = written(&cases, Format::Human);
        prop_assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{:?}", text);
    }
}

#[test]
fn the_readers_of_this_test_can_object() {
    let good = "KTAP version 1\n1..1\nok 1 a\n# Totals: pass:1\n";
    assert!(read_ktap(good).is_ok());
    for (from, to) in [
        ("1..1", "1..2"),
        ("ok 1 a", "ok 2 a"),
        ("ok 1 a", "forged"),
        ("ok 1 a", "ok 1 a\nok 2 b"),
        ("# Totals", "# No totals"),
    ] {
        assert!(read_ktap(&good.replace(from, to)).is_err(), "{to:?} was taken");
    }
    assert!(read_xml("<a b=\"1\"><c/></a>").is_ok());
    for bad in ["<a>", "<a></b>", "<a b=\"1\" b=\"2\"/>", "<a b=\"1/>"] {
        assert!(read_xml(bad).is_err(), "{bad:?} was taken");
    }
}
