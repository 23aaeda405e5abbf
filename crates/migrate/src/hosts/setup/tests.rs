//! Holders of this machine: their steps are files.

use super::step::script;
use super::*;
use memtwin_child::Spawn;
use memtwin_lab::Silent;
use memtwin_lab::host::Local;
use memtwin_wait::{wait_for, wait_until};
use std::fs;
use std::path::Path;

/// A step that makes a file, and whose undoing writes its name into `log`.
fn file(place: &Path, name: &str) -> SetupStep {
    let path = place.join(name).display().to_string();
    let log = place.join("log").display().to_string();
    SetupStep {
        says: name.to_owned(),
        free: format!("[ ! -e {path} ]"),
        does: format!("echo made >{path}"),
        undoes: format!("[ ! -e {path} ] || {{ rm {path}; echo {name} >>{log}; }}"),
    }
}

/// A step that leaves nothing to undo.
fn plain(says: &str, does: &str) -> SetupStep {
    let [says, free, does, undoes] = [says, "true", does, "true"].map(str::to_owned);
    SetupStep { says, free, does, undoes }
}

fn log(place: &Path) -> String {
    fs::read_to_string(place.join("log")).unwrap_or_default().replace('\n', " ")
}

fn until(what: &str, so: impl Fn() -> bool) {
    assert!(wait_until(END_TIMEOUT, POLL_INTERVAL, so), "never: {what}");
}

#[test]
fn what_was_set_up_is_undone_in_reverse_order() {
    let place = tempfile::tempdir().unwrap();
    let (place, left) = (place.path(), Leftovers::default());
    let steps = vec![file(place, "a"), file(place, "b"), file(place, "c")];
    let mut held = HostSetup::start(&Local, steps, &left, &Silent).unwrap();
    assert!(["a", "b", "c"].iter().all(|name| place.join(name).exists()));
    assert_eq!((held.lost(), log(place).as_str()), (None, ""));
    drop(held);
    assert_eq!((log(place).as_str(), left.lines()), ("c b a ", Vec::new()));
}

#[test]
fn what_is_somebodys_stays_and_what_fails_is_said() {
    let place = tempfile::tempdir().unwrap();
    let (place, left) = (place.path(), Leftovers::default());
    fs::write(place.join("b"), "theirs").unwrap();
    let start = |steps| HostSetup::start(&Local, steps, &left, &Silent).unwrap_err().message;
    let why = start(vec![file(place, "a"), file(place, "b"), file(place, "c")]);
    assert_eq!(why, "local: b is there already");
    assert_eq!(fs::read_to_string(place.join("b")).unwrap(), "theirs");
    assert_eq!(log(place), "a ");
    let broken = plain("the moon", "touch /no/such/moon");
    let why = start(vec![file(place, "a"), broken]);
    assert!(why.starts_with("local: the moon: ") && why.contains("/no/such/moon"), "{why}");
    assert_eq!((log(place).as_str(), left.lines()), ("a a ", Vec::new()));
}

#[test]
fn what_can_not_be_undone_is_told() {
    let place = tempfile::tempdir().unwrap();
    let left = Leftovers::default();
    let stuck = SetupStep { undoes: "false".to_owned(), ..file(place.path(), "a") };
    drop(HostSetup::start(&Local, vec![stuck], &left, &Silent).unwrap());
    assert_eq!(left.lines(), ["local: a is left: false"]);
    // The shell that undoes is torn away.
    let left = Leftovers::default();
    let torn = SetupStep { undoes: "kill -s KILL $$".to_owned(), ..file(place.path(), "b") };
    drop(HostSetup::start(&Local, vec![torn], &left, &Silent).unwrap());
    let lines = left.lines();
    assert_eq!(lines, ["local: nobody says whether all was undone; this does it: kill -s KILL $$"]);
}

#[test]
fn a_shell_that_is_torn_away_amid_its_steps_has_all_undone() {
    let place = tempfile::tempdir().unwrap();
    let (place, left) = (place.path(), Leftovers::default());
    let torn = plain("the shell", "sleep 1; kill -s KILL 0");
    let steps = vec![file(place, "a"), file(place, "b"), torn];
    HostSetup::start(&Local, steps, &left, &Silent).unwrap_err();
    until("all undone", || log(place) == "b a ");
}

#[test]
fn one_that_ended_amid_the_run_is_lost() {
    let place = tempfile::tempdir().unwrap();
    let left = Leftovers::default();
    let mut held = HostSetup::start(&Local, vec![file(place.path(), "a")], &left, &Silent).unwrap();
    drop(held.child.stdin.take());
    let lost = wait_for(END_TIMEOUT, POLL_INTERVAL, || held.lost()).unwrap();
    assert!(lost.contains("kept a broke off"), "{lost}");
}

/// As a kill -9 of ours does: nobody listens any more, and a step is in the midst of things.
#[test]
fn a_step_that_is_cut_short_is_undone_without_us() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let mut slow = file(place, "slow");
    slow.does.push_str("; sleep 1000");
    let mut command = Local.command(&script(&[file(place, "a"), slow, file(place, "b")]));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn_on_stdin().unwrap();
    until("amid the slow step", || place.join("slow").exists());
    drop((child.stdout.take(), child.stdin.take()));
    until("all undone", || log(place) == "slow a ");
    child.wait().unwrap();
    assert!(!place.join("a").exists() && !place.join("b").exists());
}
