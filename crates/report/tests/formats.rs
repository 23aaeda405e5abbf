//! Every format, over a run that has a case of every kind.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod sample;

use memtwin_report::{Format, write_report};
use sample::{control_found, every_kind, identical, run, skipped};

fn written(cases: Vec<memtwin_report::Case>, format: Format, colour: bool) -> String {
    let mut bytes = Vec::new();
    write_report(&run(cases), format, &mut bytes, colour).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn human() {
    insta::assert_snapshot!(written(every_kind(), Format::Human, false));
}

#[test]
fn human_when_all_is_well() {
    insta::assert_snapshot!(written(vec![identical(), control_found()], Format::Human, false));
}

#[test]
fn human_in_colour_says_the_same() {
    let coloured = written(every_kind(), Format::Human, true);
    assert!(coloured.contains("\u{1b}["));
    // Each escape sequence is ESC [ … m.
    let plain: String = coloured
        .split('\u{1b}')
        .enumerate()
        .map(|(i, part)| if i == 0 { part } else { part.split_once('m').unwrap().1 })
        .collect();
    assert_eq!(plain, written(every_kind(), Format::Human, false));
}

#[test]
fn ktap() {
    insta::assert_snapshot!(written(every_kind(), Format::Ktap, false));
}

#[test]
fn junit() {
    insta::assert_snapshot!(written(every_kind(), Format::Junit, false));
}

#[test]
fn json() {
    insta::assert_snapshot!(
        serde_json::to_string_pretty(&run(vec![control_found(), skipped()])).unwrap()
    );
}

#[test]
fn the_last_line_says_when_kvm_was_not_tested() {
    let process = sample::trial("process/shm/random").judged(Vec::new(), sample::digest(1, 1));
    for (cases, said) in [
        (vec![process.clone(), skipped()], true),
        (vec![process.clone(), identical(), skipped()], false),
        (vec![process], false),
    ] {
        let human = written(cases.clone(), Format::Human, false);
        assert_eq!(human.lines().last().unwrap() == "KVM NOT TESTED", said, "{human}");
        for format in [Format::Ktap, Format::Junit] {
            assert_eq!(written(cases.clone(), format, false).contains("KVM NOT TESTED"), said);
        }
    }
}

/// A block whose log named nothing after pre-copy is no pass of its log: counted and shown as such.
#[test]
fn what_was_not_exercised_is_counted_and_shown_as_such() {
    let rounds = sample::rounds();
    let block = |name: &str, rounds: &[memtwin_replicate::Round]| {
        let trial = memtwin_report::CaseBuilder::new(name, "qemu", &sample::layout());
        trial.rounds(rounds).one_of_several().judged(Vec::new(), sample::digest(1, 1))
    };
    let cases = vec![block("audit/ram", &rounds), block("audit/rom", &rounds[..1])];
    assert_eq!([cases[0].exercised(), cases[1].exercised()], [Some(true), Some(false)]);
    assert!(cases.iter().all(memtwin_report::Case::passed), "it is as it was");
    let human = written(cases.clone(), Format::Human, false);
    let row = |name: &str| human.lines().find(|line| line.contains(name)).unwrap().to_owned();
    assert!(row("audit/rom").starts_with("identical, not exercised "), "{human}");
    assert!(row("audit/ram").starts_with("identical  "), "{human}");
    let counted =
        "2 cases: 2 identical (1 not exercised: the log named no page of it after pre-copy),";
    assert!(human.contains(counted), "{human}");
    let ktap = written(cases.clone(), Format::Ktap, false);
    assert!(ktap.contains("ok 1 audit/ram\n"), "{ktap}");
    assert!(ktap.contains("ok 2 audit/rom # identical, not exercised\n"), "{ktap}");
    let mut json = serde_json::to_value(run(cases)).unwrap();
    assert_eq!(json["cases"][1]["exercised"], false);
    serde_json::from_value::<memtwin_report::RunRecord>(json.clone()).unwrap();
    // It follows from the rounds, and can't be claimed.
    json["cases"][1]["exercised"] = true.into();
    let error = serde_json::from_value::<memtwin_report::RunRecord>(json).unwrap_err().to_string();
    assert!(error.contains("exercised is true, expected false"), "{error}");
}

#[test]
fn discarded_pages_have_a_column_where_there_are_any() {
    let layout = memtwin_pages::Layout::default();
    let case = |pages| {
        let trial = memtwin_report::CaseBuilder::new("audit/ram", "qemu:q", &layout);
        trial.discarded(pages).judged(Vec::new(), Default::default())
    };
    let some = written(vec![case(0), case(29_264)], Format::Human, false);
    assert!(some.contains("LOST  DISCARDED  IN ROUNDS"), "{some}");
    assert!(some.contains("0 pages lost, 29264 pages discarded"), "{some}");
    let none = written(vec![case(0)], Format::Human, false);
    assert!(!none.to_lowercase().contains("discarded"), "{none}");
}

#[test]
fn a_run_of_no_cases_is_said_to_be_one() {
    assert_eq!(written(vec![], Format::Human, false), "0 cases\n");
    assert!(written(vec![], Format::Ktap, false).starts_with("KTAP version 1\n1..0\n"));
}

#[test]
fn formats_are_named() {
    for format in Format::ALL {
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    assert!("tap".parse::<Format>().unwrap_err().to_string().contains("'tap'"));
}

/// A person reads the first ones; the record has all.
#[test]
fn a_long_list_of_lost_pages_is_cut_for_a_person_alone() {
    let case = |count: u64| {
        let lost = (0..count).map(|page| sample::lost(page, None)).collect();
        sample::trial("kvm/get/shm/vcpus=1/random").judged(lost, sample::digest(1, 2))
    };
    let human = written(vec![case(60)], Format::Human, false);
    let listed = human.lines().filter(|line| line.contains(" 0x2")).count();
    assert_eq!(listed, 20, "{human}");
    assert!(human.contains("  and 40 more: --json FILE writes all of them\n"), "{human}");
    assert!(human.contains("60 pages lost"), "{human}");
    let record = serde_json::to_value(run(vec![case(60)])).unwrap();
    assert_eq!(record["cases"][0]["lost"].as_array().unwrap().len(), 60);
    assert_eq!(written(vec![case(60)], Format::Ktap, false).matches("# lost page: ").count(), 60);
    // No more than are listed: nothing is said of more.
    let few = written(vec![case(20)], Format::Human, false);
    assert!(!few.contains(" more: "), "{few}");
}
