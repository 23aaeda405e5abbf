//! The record: what can be built, and what is believed when it is read.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod sample;

use memtwin_report::record::{CaseStanding, GuestSum, Verdict};
use memtwin_report::{Case, RunRecord};
use sample::*;
use serde_json::{Value, json};

#[test]
fn a_record_leads_back() {
    let record = run(every_kind());
    let text = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<RunRecord>(&text).unwrap(), record);
}

/// What older readers know of a record is not touched where there is nothing to note.
#[test]
fn notes_are_in_the_record_only_if_there_are_any() {
    let plain = serde_json::to_value(run(every_kind())).unwrap();
    assert_eq!(plain.get("notes"), None);
    let noted = run(every_kind()).with_notes(["to repeat: --seed 7".to_owned()]);
    let json = serde_json::to_value(&noted).unwrap();
    assert_eq!(json["notes"], json!(["to repeat: --seed 7"]));
    assert_eq!(serde_json::from_value::<RunRecord>(json).unwrap(), noted);
    assert!(serde_json::from_value::<RunRecord>(plain).unwrap().notes.is_empty());
}

#[test]
fn the_verdict_follows_from_what_was_found() {
    let verdicts =
        every_kind().iter().map(|case| (case.verdict(), case.passed())).collect::<Vec<_>>();
    assert_eq!(
        verdicts,
        [
            (Verdict::Identical, true),
            (Verdict::Differs, true),
            (Verdict::Differs, false),
            (Verdict::Differs, false),
            (Verdict::Inconclusive, false),
            (Verdict::Skipped, false),
            (Verdict::Skipped, false),
        ]
    );
}

#[test]
fn digests_that_differ_without_a_page_are_no_pass() {
    let torn = trial("torn").judged(Vec::new(), digest(1, 2));
    assert_eq!((torn.verdict(), torn.passed()), (Verdict::Inconclusive, false));
    assert!(torn.reason().unwrap().starts_with("region aeshmem: the digests differ"));
}

#[test]
fn a_loss_once_seen_stays_although_the_last_bytes_agree() {
    let healed = trial("healed").judged(vec![lost(1, None)], digest(1, 1));
    assert_eq!(healed.verdict(), Verdict::Differs);
    let died = trial("died").inconclusive("the guest died", vec![lost(1, None)]);
    assert_eq!((died.verdict(), died.standing()), (Verdict::Differs, CaseStanding::Failed));
    let control = trial("died/control").control([at(1)]);
    let died = control.clone().inconclusive("the guest died", vec![lost(1, None)]);
    assert_eq!(died.standing(), CaseStanding::Inconclusive);
    let died = control.inconclusive("the guest died", vec![lost(1, None), lost(2, None)]);
    assert_eq!((died.verdict(), died.standing()), (Verdict::Differs, CaseStanding::Failed));
}

#[test]
fn a_control_that_injects_nothing_proves_nothing() {
    let idle = trial("idle/control").control([]).judged(Vec::new(), digest(1, 1));
    assert_eq!((idle.verdict(), idle.passed()), (Verdict::Identical, false));
    let idle = trial("idle/control").control([]).differs("the disk differs");
    assert_eq!((idle.verdict(), idle.passed()), (Verdict::Differs, false));
}

#[test]
fn what_a_control_should_find_is_not_lost_by_the_log() {
    assert_eq!(control_found().unexplained().count(), 0);
    assert_eq!(control_found().missed().count(), 0);
    let astray = control_astray();
    assert_eq!(astray.unexplained().map(|lost| lost.gpa).collect::<Vec<_>>(), [gpa(9)]);
    assert_eq!(astray.missed().collect::<Vec<_>>(), [&at(6)]);
    assert_eq!(differs().unexplained().count(), 2);
}

#[test]
fn a_page_has_its_number_in_its_region() {
    let case = identical();
    assert_eq!(case.page_number("aeshmem", gpa(63)), Some(63));
    assert_eq!(case.page_number("aeshmem", gpa(64)), None);
    assert_eq!(case.page_number("aeshmem", memtwin_pages::Gpa(0)), None);
    assert_eq!(case.page_number("ram", gpa(0)), None);
}

/// The case with one field replaced.
fn altered(case: &Case, field: &str, value: Value) -> Result<Case, serde_json::Error> {
    let mut json = serde_json::to_value(case).unwrap();
    assert_ne!(json[field], value, "nothing altered");
    json[field] = value;
    serde_json::from_value(json)
}

#[test]
fn a_case_that_contradicts_itself_is_not_believed() {
    let one_lost = json!([serde_json::to_value(lost(1, None)).unwrap()]);
    for (case, field, value) in [
        (differs(), "passed", json!(true)),
        (control_astray(), "passed", json!(true)),
        (identical(), "passed", json!(false)),
        (differs(), "verdict", json!("identical")),
        (identical(), "verdict", json!("skipped")),
        (identical(), "verdict", json!("inconclusive")),
        (identical(), "lost_pages", json!(1)),
        (identical(), "lost", one_lost),
        (differs(), "lost", json!([])),
        (identical(), "digest", serde_json::to_value(digest(1, 2)).unwrap()),
        (skipped(), "reason", json!(null)),
        (inconclusive(), "reason", json!(null)),
        (control_found(), "control", json!(null)),
        (control_astray(), "verdict", json!("inconclusive")),
        (control_astray(), "control", json!({"injected": [at(5)], "found": [at(5)]})),
    ] {
        let error = altered(&case, field, value).unwrap_err().to_string();
        assert!(error.contains(case.name()), "{field} of {}: {error}", case.name());
    }
    // What may be altered without a contradiction still reads: the checks above are not a wall.
    assert!(altered(&identical(), "source", json!("process")).is_ok());
}

#[test]
fn discarded_pages_are_counted_and_an_older_record_has_none() {
    let layout = memtwin_pages::Layout::default();
    let trial =
        || memtwin_report::CaseBuilder::new("audit/ram", "qemu:q", &layout).discarded(29_264);
    let case = trial().judged(Vec::new(), Default::default());
    assert_eq!((case.verdict(), case.discarded_pages()), (Verdict::Identical, 29_264));
    let mut written = serde_json::to_value(&case).unwrap();
    assert_eq!(serde_json::from_value::<Case>(written.clone()).unwrap(), case);
    written.as_object_mut().unwrap().remove("discarded_pages");
    assert_eq!(serde_json::from_value::<Case>(written).unwrap().discarded_pages(), 0);
    assert_eq!(trial().inconclusive("it ended", Vec::new()).discarded_pages(), 29_264);
}

#[test]
fn notes_and_a_guests_sum_travel_with_the_record_and_an_older_one_has_none() {
    let sum = GuestSum { bsd_sum: 7, blocks: 1024 };
    let case = identical().with_guest_sum(Some(sum));
    let record = run(vec![case]).with_notes(vec!["seen".to_owned()]);
    let mut written = serde_json::to_value(&record).unwrap();
    assert_eq!(written["cases"][0]["guest_sum"], json!({ "bsd_sum": 7, "blocks": 1024 }));
    assert_eq!(serde_json::from_value::<RunRecord>(written.clone()).unwrap(), record);
    written.as_object_mut().unwrap().remove("notes");
    written["cases"][0].as_object_mut().unwrap().remove("guest_sum");
    assert_eq!(
        serde_json::from_value::<RunRecord>(written.clone()).unwrap(),
        run(vec![identical()])
    );
    // Where there is nothing to say, nothing is said.
    assert_eq!(serde_json::to_value(run(vec![identical()])).unwrap(), written);
}

#[test]
fn another_schema_is_not_read() {
    let mut json = serde_json::to_value(run(vec![])).unwrap();
    assert_eq!(json["schema_version"], json!(1));
    json["schema_version"] = json!(2);
    let error = serde_json::from_value::<RunRecord>(json).unwrap_err();
    assert_eq!(error.to_string(), "schema_version 2: this version of memtwin reads 1");
}
