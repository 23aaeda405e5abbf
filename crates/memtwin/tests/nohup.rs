//! nohup(1): a SIGHUP that is ignored from the start stays ignored.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod common;

use common::{Held, Place, memtwin, until};
use memtwin_child::Spawn;
use std::io::Read;
use std::process::{Command, Stdio};

/// What a replication that gets a SIGHUP amid its rounds ends with.
fn ended(mut command: Command, place: &Place) -> Option<i32> {
    let twin = place.path("twin");
    command.args(["replicate", "process"]).arg(format!("file:{}", twin.display()));
    command.args(["--seconds", "3s", "--interval", "10ms", "--memory"]).arg(place.path("memory"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut held = Held(command.spawn_bound().unwrap());
    let mut said = held.0.stderr.take().unwrap();
    // Its first word is of the first rounds: its signals are in place then.
    assert_ne!(said.read(&mut [0; 64]).unwrap(), 0);
    held.signal(1);
    until("it has ended", || held.0.try_wait().unwrap().is_some());
    held.end().code()
}

#[test]
fn a_replication_under_nohup_goes_on() {
    let (with, without) = (Place::new(), Place::new());
    let mut nohup = Command::new("nohup");
    nohup.arg(env!("CARGO_BIN_EXE_memtwin"));
    assert_eq!(ended(nohup, &with), Some(0));
    // The control: without it, it is told to end, and does so in order.
    assert_eq!(ended(memtwin(), &without), Some(130));
}
