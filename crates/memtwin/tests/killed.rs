//! A Memtwin that is killed at any moment leaves no process behind.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod common;

use common::{Held, Place, memtwin, until};
use memtwin_child::Spawn;
use std::process::{Command, Stdio};
use std::time::Duration;

/// In the environment of all that a run has started.
const MARK: &str = "MEMTWIN_TEST_MARK";

/// Whether a process is there that has the mark; one that is dead and not yet reaped has none.
fn any_has(mark: &str) -> bool {
    let wanted = format!("{MARK}={mark}");
    std::fs::read_dir("/proc").unwrap().flatten().any(|process| {
        let words = std::fs::read(process.path().join("environ")).unwrap_or_default();
        words.split(|&byte| byte == 0).any(|word| word == wanted.as_bytes())
    })
}

#[test]
fn whenever_it_is_killed_nothing_is_left() {
    let place = Place::new();
    let mark = place.0.path().display().to_string();
    // The control: what has the mark is seen.
    let mut sleep = Command::new("sleep");
    let mut held = Held::spawn(sleep.arg("1000").env(MARK, &mark));
    until("the mark is seen", || any_has(&mark));
    held.0.kill().unwrap();
    held.0.wait().unwrap();
    for run in 0..50 {
        // Of its own: a process that is going has lost its environment before its locks.
        let memory = place.path(&format!("memory-{run}"));
        let mut command = memtwin();
        command.args(["replicate", "process", "discard", "--quiet", "--memory"]);
        command.arg(&memory).env(MARK, &mark);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut held = Held(command.spawn_bound().unwrap());
        std::thread::sleep(Duration::from_micros(fastrand::u64(0..60_000)));
        assert_eq!(held.0.try_wait().unwrap(), None, "it goes on until it is killed");
        held.0.kill().unwrap();
        held.0.wait().unwrap();
        until("its processes are gone", || !any_has(&mark));
    }
}
