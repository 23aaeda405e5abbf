//! Records are a contract: fields are added, none goes, and what was said of the same command is said again.
//! `records/*.json` were written by the first Memtwin that had this contract; each names its command.

#![allow(clippy::unwrap_used, reason = "a test may end")]

mod common;

use common::{Place, conform, json, memtwin, text, validated};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Stdio;

/// Numbers that depend on the machine and the moment: any number will do.
const MEASURED: [&str; 12] = [
    "n",
    "dirty_pages",
    "sent_pages",
    "false_dirty_pages",
    "zero_pages",
    "bytes",
    "collect_us",
    "copy_us",
    "total_us",
    "page_size",
    "cpus",
    "bsd_sum",
];

/// Texts that do.
const SAID: [&str; 6] = ["command", "version", "arch", "kernel", "blake3", "gpa"];

/// What is not in `new` as it was in `old`, by its path.
fn missing(path: &str, old: &Value, new: &Value, out: &mut Vec<String>) {
    let key = path.rsplit('.').next().unwrap();
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in old {
                match new.get(key) {
                    Some(other) => missing(&format!("{path}.{key}"), value, other, out),
                    None => out.push(format!("{path}.{key} is gone")),
                }
            }
        }
        // Rounds and lost pages are as many as there were; each has the fields that the first had.
        (Value::Array(old), Value::Array(new)) if key == "rounds" || key == "lost" => {
            if let Some(first) = old.first() {
                new.iter().for_each(|new| missing(&format!("{path}.of"), first, new, out));
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            if old.len() != new.len() {
                out.push(format!("{path}: {} instead of {}", new.len(), old.len()));
            }
            for (at, (old, new)) in old.iter().zip(new).enumerate() {
                missing(&format!("{path}[{at}]"), old, new, out);
            }
        }
        (Value::Number(_), Value::Number(_)) if MEASURED.contains(&key) => {}
        (Value::String(_), Value::String(_)) if SAID.contains(&key) => {}
        (old, new) if old == new || path.contains(".rounds") || path.contains(".lost") => {}
        (old, new) => out.push(format!("{path}: {new} instead of {old}")),
    }
}

fn recorded(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/records");
    json(&folder.join(name).with_extension("json"))
}

/// Runs the command of a record again, and compares.
fn same(name: &str, place: &Place) {
    let old = recorded(name);
    let words = old["command"].as_str().unwrap().split(' ').skip(1);
    let mut command = memtwin();
    command.args(words).current_dir(place.0.path()).stdout(Stdio::null());
    command.output().unwrap();
    let new = json(&place.path(&format!("{name}.json")));
    let mut out = Vec::new();
    missing(name, &old, &new, &mut out);
    assert_eq!(out, Vec::<String>::new(), "{new:#}");
}

#[test]
fn a_replication_and_a_comparison_are_recorded_as_ever() {
    let place = Place::new();
    same("replicate", &place);
    same("verify", &place);
    // As it was when the record was made: another byte in the second page.
    let mut other = fs::read(place.path("memory")).unwrap();
    other[5000] = if other[5000] == b'x' { b'y' } else { b'x' };
    fs::write(place.path("other"), other).unwrap();
    same("differs", &place);
    same("discard", &place);
    let record = |name: &str| place.path(&format!("{name}.json"));
    conform(&["replicate", "verify", "differs", "discard"].map(record).each_ref().map(|it| &**it));
    whole(&json(&record("replicate")));
}

#[test]
fn a_check_is_recorded_as_ever() {
    if memtwin_testbed::lacks(&[memtwin_testbed::Need::Kvm]) {
        return;
    }
    let place = Place::new();
    same("check", &place);
    let record = place.path("check.json");
    conform(&[&record]);
    let record = json(&record);
    whole(&record);
    assert!(record["provenance"]["resolved"]["seed"].is_u64(), "{:#}", record["provenance"]);
    assert_eq!(record["host"]["kvm"]["dirty_log"][0], "get", "{:#}", record["host"]);
    for case in record["cases"].as_array().unwrap() {
        assert_eq!(case["hypervisor"]["accelerator"], "KVM", "{case:#}");
    }
}

/// A record says how it came about, and its heat is that of its rounds.
fn whole(record: &Value) {
    let provenance = &record["provenance"];
    assert!(provenance["started"].as_str() <= provenance["ended"].as_str(), "{provenance:#}");
    let words: Vec<&str> = provenance["arguments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap())
        .collect();
    assert_eq!(Some(words.join(" ").as_str()), record["command"].as_str());
    let number = |value: &Value| value.as_u64().unwrap();
    for case in record["cases"].as_array().unwrap() {
        let rounds = case["rounds"].as_array().unwrap();
        let started: Vec<u64> = rounds.iter().map(|round| number(&round["started_us"])).collect();
        assert!(started.is_sorted(), "{started:?}");
        let counted = |key: &str| {
            let later = rounds.iter().filter(|round| round["kind"] != "precopy");
            later.map(|round| number(&round[key])).sum::<u64>()
        };
        let heat = |key: &str| {
            let buckets = case["regions"].as_array().unwrap().iter();
            let counts = buckets.flat_map(|region| region["heat"][key].as_array().unwrap());
            counts.map(number).sum::<u64>()
        };
        // A control's log may be left without a page.
        assert!(counted("dirty_pages") > 0 || !case["control"].is_null(), "{case:#}");
        assert_eq!(heat("dirty"), counted("dirty_pages"));
        assert_eq!(heat("false_dirty"), counted("false_dirty_pages"));
        assert_eq!(heat("lost"), number(&case["lost_pages"]));
    }
}

/// The control: a record with a field of another type, or without one, is refused.
#[test]
fn what_is_no_record_does_not_conform() {
    if memtwin_testbed::lacks(&[memtwin_testbed::Need::Program("jsonschema")]) {
        return;
    }
    let place = Place::new();
    let refused = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut record = recorded("differs");
        change(&mut record);
        let path = place.path(name);
        fs::write(&path, record.to_string()).unwrap();
        let output = validated(&[&path]);
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    };
    let (passed, said) = refused("whole", &|_| ());
    assert!(passed, "records of the first Memtwin conform: {said}");
    let (passed, said) = refused("type", &|record| record["cases"][0]["lost_pages"] = "two".into());
    assert!(!passed && said.contains("two"), "{said}");
    let (passed, said) =
        refused("gone", &|record| _ = record.as_object_mut().unwrap().remove("host"));
    assert!(!passed && said.contains("host"), "{said}");
}

/// The control: a field that is gone, a verdict that is another, a case that is missing.
#[test]
fn what_is_gone_or_another_is_found() {
    let old = recorded("differs");
    let found = |change: &dyn Fn(&mut Value)| {
        let mut new = old.clone();
        change(&mut new);
        let mut out = Vec::new();
        missing("r", &old, &new, &mut out);
        out
    };
    assert_eq!(found(&|_| ()), Vec::<String>::new());
    assert_eq!(found(&|new| new["added"] = 1.into()), Vec::<String>::new());
    let gone = found(&|new| _ = new["cases"][0].as_object_mut().unwrap().remove("lost_pages"));
    assert_eq!(gone, ["r.cases[0].lost_pages is gone"]);
    let other = found(&|new| new["cases"][0]["verdict"] = "identical".into());
    assert_eq!(other, [r#"r.cases[0].verdict: "identical" instead of "differs""#]);
    let none = found(&|new| new["cases"] = Value::Array(Vec::new()));
    assert_eq!(none, ["r.cases: 0 instead of 1"]);
}
