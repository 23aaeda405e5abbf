//! A guest that somebody else lets run while it is compared: never called different, never the same.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod common;

use common::{Held, Place, json, memtwin, text, until};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::time::{Duration, Instant};

/// For this long the child has stood still when it is being compared: the rounds before that take a
/// fraction of it.
const COMPARED: Duration = Duration::from_millis(60);

/// The child of a `replicate process`.
fn writer(parent: u32) -> Option<u32> {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).ok()?;
    let children =
        tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    let mut children = children.flat_map(|text| {
        text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
    });
    children.next()
}

fn is_stopped(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
}

fn signal(pid: u32, signal: Signal) {
    // It may have ended: then the run says so.
    let _ = kill_process(Pid::from_raw(pid as i32).unwrap(), signal);
}

/// Replicates, with what is done to the child once it is compared. Exit code, verdict and reason.
fn replicated(meddle: impl FnOnce(u32)) -> (Option<i32>, String, String) {
    let place = Place::new();
    let mut command = memtwin();
    let twin = format!("file:{}", place.path("twin").display());
    command.args(["replicate", "process", &twin, "--quiet", "--size", "192M", "--rounds", "2"]);
    // So that the rounds are short, and what takes its time is the comparison.
    command.args(["--pace", "2000"]);
    command.arg("--memory").arg(place.path("memory"));
    command.arg("--json").arg(place.path("out.json"));
    let mut held = Held::spawn(&mut command);
    let mut child = 0;
    until("there is a writer", || {
        child = writer(held.0.id()).unwrap_or_default();
        child != 0
    });
    let mut since: Option<Instant> = None;
    until("it is compared", || {
        let is_stopped = is_stopped(child);
        since = since.filter(|_| is_stopped).or_else(|| is_stopped.then(Instant::now));
        assert_eq!(held.0.try_wait().unwrap(), None, "it was never seen to be compared");
        since.is_some_and(|since| since.elapsed() >= COMPARED)
    });
    meddle(child);
    let status = held.end();
    let err = std::io::read_to_string(held.0.stderr.take().unwrap()).unwrap();
    assert!(place.path("out.json").exists(), "{status}: {}", text(err.as_bytes()));
    let case = &json(&place.path("out.json"))["cases"][0];
    let word = |name: &str| case[name].as_str().unwrap_or_default().to_owned();
    (status.code(), word("verdict"), word("reason"))
}

#[test]
fn a_process_that_is_let_go_on_while_it_is_compared_is_no_mismatch() {
    if let Err(lack) = memtwin_process::probe() {
        println!("skipped: {lack}");
        return;
    }
    // The control: that this is all that is wrong with it.
    assert_eq!(replicated(|_| ()), (Some(0), "identical".to_owned(), String::new()));
    for stopped_again in [false, true] {
        let (code, verdict, reason) = replicated(|child| {
            signal(child, Signal::CONT);
            if stopped_again {
                std::thread::sleep(Duration::from_millis(5));
                signal(child, Signal::STOP);
            }
        });
        assert_eq!((code, verdict.as_str()), (Some(11), "inconclusive"), "{reason}");
        assert!(reason.contains("let the writer process go on (SIGCONT)"), "{reason}");
    }
}
