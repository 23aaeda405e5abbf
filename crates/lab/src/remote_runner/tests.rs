use super::*;
use serde_json::json;

/// The pieces of a record of cases with these names.
fn lines(names: &[&str]) -> Vec<String> {
    let case = |name: &&str| json!({ "cases": [{ "name": name }] }).to_string();
    names.iter().map(|name| pieces::line(&case(name))).collect()
}

#[test]
fn what_had_come_before_it_broke_off_is_told() {
    let of = |lines: &[String], reply| {
        let mut pieces = Pieces::default();
        lines.iter().for_each(|line| assert!(pieces.take(line)));
        outcome(reply, pieces)
    };
    let said = || Reply { rc: 1, output: vec!["differs".to_owned()] };
    let mut all = lines(&["a", "b"]);
    let torn = of(&all, Ok(said())).unwrap_err();
    assert!(torn.to_string().contains("of ? cases on the board, the records of 2"), "{torn}");
    all.push(pieces::last(2));
    let whole = of(&all, Ok(said())).unwrap();
    assert_eq!((whole.rc, whole.said), (1, vec!["differs".to_owned()]));
    assert_eq!(whole.record, json!({ "cases": [{ "name": "a" }, { "name": "b" }] }));
    let torn = of(&all[1..], Ok(said())).unwrap_err();
    let ExperimentError::Broken { record, .. } = &torn else { panic!("{torn}") };
    assert_eq!(record, &json!({ "cases": [{ "name": "b" }] }));
    assert!(torn.to_string().contains("of 2 cases on the board, the records of 1"), "{torn}");
    let died = || Err(MachineError::Cancelled.into());
    assert!(matches!(of(&all[..1], died()), Err(ExperimentError::Broken { .. })));
    assert!(matches!(of(&[], died()), Err(ExperimentError::Machine(_))));
    let none = of(&[], Ok(said())).unwrap_err().to_string();
    assert_eq!(none, "memtwin on the board returned 1 and no record\n    differs");
}

#[test]
fn a_visit_leaves_nothing_behind() {
    let here = tempfile::tempdir().unwrap();
    let program = here.path().join("fake");
    // Says a piece, and what it is given; and returns 7, or is killed with its connection.
    let script = format!(
        "#!/bin/sh\necho '{}' >&2; [ \"$4\" = die ] && kill $PPID\necho '{}' >&2; echo \"$4\"; exit 7\n",
        lines(&["a"])[0],
        pieces::last(1)
    );
    std::fs::write(&program, script).unwrap();
    let visit = Visit::begin(&host::Local, Some(&program), &mut Silent).unwrap();
    let folder = PathBuf::from(&visit.folder);
    assert!(folder.join("memtwin").is_file());
    let word = ["it's --one $(word)".to_owned()];
    let outcome = visit.check(&word, SHORT, &mut Silent).unwrap();
    assert_eq!((outcome.rc, outcome.said), (7, word.to_vec()));
    assert_eq!(outcome.record, json!({ "cases": [{ "name": "a" }] }));
    let broken = visit.check(&["die".to_owned()], SHORT, &mut Silent).unwrap_err();
    let ExperimentError::Broken { error, record } = broken else { panic!("{broken}") };
    assert!(matches!(*error, ExperimentError::Host(_)), "{error}");
    assert_eq!(record, json!({ "cases": [{ "name": "a" }] }));
    drop(visit);
    assert!(!folder.exists());
}

#[test]
fn an_argument_stays_one_word() {
    assert_eq!(quoted("--seconds=1 s; $(reboot)").unwrap(), "'--seconds=1 s; $(reboot)'");
    let error = quoted("it's").unwrap_err().to_string();
    assert!(error.starts_with("'it's': an argument for a board has no "), "{error}");
}
