//! `memtwin replicate qemu:SOCKET`, without a Linux guest: how it ends.

use crate::common::{Held, expect, json, memtwin, until, verdicts};
use crate::machine::BareMachine;
use memtwin_qemu::{RunState, parameters};
use std::process::Command;

fn replicate(machine: &BareMachine, twin: &str, more: &str) -> Command {
    let mut command = memtwin();
    command.arg("replicate").arg(format!("qemu:{}", machine.qemu.qmp().display())).arg(twin);
    command.args(["--quiet", "--interval", "50ms", "--max-pause", "1m", "--json"]);
    command.arg(machine.out()).args(more.split_whitespace());
    command
}

/// Its guest writes all the time, so its log is never clean; with and without a twin.
#[test]
fn a_log_that_is_never_clean_does_not_converge() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let before = machine.setup();
    let file = format!("file:{}", machine.qemu.dir().join("twin").display());
    for twin in ["discard", &file] {
        let (out, _) = expect(10, &mut replicate(&machine, twin, "--until clean --rounds 3"));
        assert!(out.contains("did not converge"), "{twin}: {out}");
        machine.is_as(&before);
    }
    // The control: told to end after as many rounds, the twin is a success.
    expect(0, &mut replicate(&machine, &file, "--rounds 3"));
    // Of one that was discarded nothing can be judged.
    expect(4, &mut replicate(&machine, "discard", "--rounds 3"));
    machine.is_as(&before);
}

/// Paused by somebody, QEMU goes on to its last page by itself: that is judged, and that it came early
/// is said.
#[test]
fn one_that_ends_early_says_so() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let file = format!("file:{}", machine.qemu.dir().join("twin").display());
    let mut replication = Held::spawn(&mut replicate(&machine, &file, "--seconds 1h"));
    until("it is held", || {
        parameters(&mut machine.qmp).is_ok_and(|all| all["max-bandwidth"] == 10)
    });
    for _ in 0..3 {
        machine.writes();
    }
    let _: serde_json::Value = machine.qmp.execute("stop", ()).unwrap();
    assert_eq!(replication.end().code(), Some(0));
    let out = std::io::read_to_string(replication.0.stdout.take().unwrap()).unwrap();
    assert!(out.contains("ended early: somebody else has paused the guest"), "{out}");
    assert_eq!(verdicts(&json(&machine.out()))[0].1, "identical");
    assert_eq!(memtwin_qemu::status(&mut machine.qmp).unwrap().status, RunState::Paused);
}
