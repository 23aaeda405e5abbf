//! An audit and memory: it takes what the guest has and no more, asks first, and goes first.

use crate::common::{Held, memtwin, run, text, until};
use crate::machine::{BareMachine, PC, firmware};
use memtwin_qemu::status;
use memtwin_qmp::Qmp;
use memtwin_testbed::{MemoryCgroup, Need, Qemu, lacks, program};
use std::fs;
use std::process::{Command, Output};
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// An audit in the same memory cgroup as its QEMU, of which all of the guest's 192 MiB exist. QEMU
/// lives after it, whatever came of it.
fn audited_within(limit: u64) -> Output {
    let group = MemoryCgroup::new(limit).unwrap();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("firmware"), firmware()).unwrap();
    let mut command = Command::new(program(PC));
    command.args(["-nodefaults", "-display", "none", "-bios", "firmware", "-accel", "kvm"]);
    command.args(["-M", "pc,memory-backend=ram", "-m", "192", "-object"]);
    command.args(["memory-backend-ram,id=ram,size=192M,prealloc=on", "-qmp"]);
    command.arg(format!("unix:{},server=on,wait=off", Qemu::qmp_in(dir.path()).display()));
    command.current_dir(dir.path());
    let mut qemu = Qemu::launch(dir, group.within(&command)).unwrap();
    assert!(group.processes().contains(&qemu.pid()));

    let mut audit = memtwin();
    audit.arg("audit").arg(qemu.qmp()).args(["--rounds", "2", "--quiet", "--max-pause", "1m"]);
    let output = run(&mut group.within(&audit));
    assert_eq!(qemu.ended().unwrap(), None, "QEMU was ended: {output:?}");
    let mut qmp = Qmp::connect(&qemu.qmp(), Duration::from_secs(60)).unwrap();
    assert!(status(&mut qmp).unwrap().running);
    drop(qemu);
    output
}

#[test]
fn a_group_too_small_for_the_twin_is_said_and_qemu_lives() {
    if lacks(&[Need::MemoryCgroup, Need::Program(PC), Need::Kvm]) {
        return;
    }
    let refused = audited_within(320 * MIB);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert_eq!(said.lines().count(), 1, "{said}");
    for part in ["no room for the audit's twin", "memory cgroup /memtwin-test-", "file:DIR"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // The control: it is the group alone that is in the way.
    let done = audited_within(1024 * MIB);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
}

/// A number of a process's status, in bytes.
fn status_of(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

#[test]
fn memory_that_the_guest_never_touched_is_not_taken() {
    let Some(mut machine) = BareMachine::writing("-m 4G") else { return };
    let before = machine.setup();
    let (mut audit, mut most) = (machine.auditing("--judge paused --rounds 2"), 0);
    let mut code = None;
    until("it has ended", || {
        most = most.max(status_of(audit.0.id(), "VmHWM:").unwrap_or_default());
        code = audit.0.try_wait().unwrap();
        code.is_some()
    });
    assert_eq!(code.unwrap().code(), Some(0));
    assert!(most > MIB, "it was never looked at");
    assert!(most < 512 * MIB, "{} MiB for a guest that has written one", most / MIB);
    let record = machine.record();
    let ram = crate::machine::case(&record, "audit/pc.ram");
    assert!(ram.passed() && ram.regions()[0].bytes == 4096 * MIB, "{ram:?}");
    machine.is_as(&before);
}

fn score(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap_or_default().trim().to_owned()
}

/// Of all processes the audit is the first to be ended, and its guardian, which then puts QEMU's
/// settings back, is not.
#[test]
fn it_goes_first_and_its_guardian_does_not() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let (ours, qemu) = (score(std::process::id()), score(machine.qemu.pid()));
    let before = machine.setup();
    let mut audit: Held = machine.auditing("--seconds 100");
    until("there is a guardian", || !machine.guardians().is_empty());
    let guardian = machine.guardians()[0];
    until("the guardian has its own score", || score(guardian) == ours);
    assert_eq!(score(audit.0.id()), "1000");
    assert_eq!(score(machine.qemu.pid()), qemu, "QEMU's is QEMU's");
    audit.signal(2);
    assert_eq!(audit.end().code(), Some(130));
    machine.is_as(&before);
}
