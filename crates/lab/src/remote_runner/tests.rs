use super::*;
use crate::{MachineError, pieces};
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
        output_of_pieces(reply, pieces)
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
    let RemoteError::Broken { record, .. } = &torn else { panic!("{torn}") };
    assert_eq!(record, &json!({ "cases": [{ "name": "b" }] }));
    assert!(torn.to_string().contains("of 2 cases on the board, the records of 1"), "{torn}");
    let died = || Err(MachineError::Cancelled.into());
    assert!(matches!(of(&all[..1], died()), Err(RemoteError::Broken { .. })));
    assert!(matches!(of(&[], died()), Err(RemoteError::Machine(_))));
    let none = of(&[], Ok(said())).unwrap_err().to_string();
    assert_eq!(none, "memtwin on the board returned 1 and no record\n    differs");
}

#[test]
fn a_runner_leaves_nothing_behind() {
    let here = tempfile::tempdir().unwrap();
    let program = here.path().join("fake");
    // Says a piece, and what it is given; and returns 7, or is killed with its connection.
    let script = format!(
        "#!/bin/sh\necho '{}' >&2; [ \"$4\" = die ] && kill $PPID\necho '{}' >&2; echo \"$4\"; exit 7\n",
        lines(&["a"])[0],
        pieces::last(1)
    );
    std::fs::write(&program, script).unwrap();
    let runner = RemoteRunner::with_folder(Arc::new(host::Local), &mut Silent).unwrap();
    runner.install(Some(&program), &mut Silent).unwrap();
    let folder = PathBuf::from(runner.folder());
    assert!(folder.join("memtwin").is_file());
    let word = ["it's --one $(word)".to_owned()];
    let outcome = runner.check(&word, SHORT_TIMEOUT, &mut Silent).unwrap();
    assert_eq!((outcome.rc, outcome.said), (7, word.to_vec()));
    assert_eq!(outcome.record, json!({ "cases": [{ "name": "a" }] }));
    let broken = runner.check(&["die".to_owned()], SHORT_TIMEOUT, &mut Silent).unwrap_err();
    let RemoteError::Broken { error, record } = broken else { panic!("{broken}") };
    assert!(matches!(*error, RemoteError::Host(_)), "{error}");
    assert_eq!(record, json!({ "cases": [{ "name": "a" }] }));
    drop(runner);
    assert!(!folder.exists());
}

#[test]
fn a_record_is_fetched_and_a_command_without_one_is_no_run() {
    let here = tempfile::tempdir().unwrap();
    let program = here.path().join("fake");
    // Its last word is the record's file: `… --json FILE`.
    let script = "#!/bin/sh\nfor file; do :; done\n[ \"$1\" = none ] && { echo why >&2; exit 3; }\n\
                  echo a table\n[ \"$1\" = cut ] && { echo '{\"a\"' >\"$file\"; exit 0; }\n\
                  printf '{\"word\": \"%s\"}' \"$2\" >\"$file\"; exit 10\n";
    std::fs::write(&program, script).unwrap();
    let runner = RemoteRunner::with_folder(Arc::new(host::Local), &mut Silent).unwrap();
    runner.install(Some(&program), &mut Silent).unwrap();
    let run = |words: [&str; 2]| runner.run(&words.map(str::to_owned), SHORT_TIMEOUT, &mut Silent);
    let output = run(["all", "two words"]).unwrap();
    assert_eq!(output, RunOutput { rc: 10, record: json!({ "word": "two words" }), said: vec![] });
    // The one before is not taken for its own.
    let RemoteError::NoRecord { said, .. } = run(["none", ""]).unwrap_err() else { panic!() };
    assert_eq!(said, ["why"]);
    assert!(matches!(run(["cut", ""]), Err(RemoteError::NoRecord { rc: 0, .. })));
}
