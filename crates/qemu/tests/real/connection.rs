//! QMP as QEMU speaks it.

use crate::{ARM, PC, TIMEOUT, machine, wait_for};
use memtwin_qemu::{MigrationStatus, RunState, kvm, migration, status, target, version};
use memtwin_qmp::{Qmp, QmpError};
use memtwin_testbed::Qemu;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

#[test]
fn what_qemu_says_of_itself() {
    let pc = machine(PC, "-M pc -accel kvm -m 64 -S");
    let arm = machine(ARM, "-M virt -cpu cortex-a72 -m 64 -S");
    for (machine, arch, under_kvm) in [(pc, "x86_64", true), (arm, "aarch64", false)] {
        let Some((qemu, mut qmp)) = machine else { continue };
        assert_eq!(target(&mut qmp).unwrap(), arch);
        assert_eq!(kvm(&mut qmp).unwrap().enabled, under_kvm);
        assert!(version(&mut qmp).unwrap().major >= 7);
        let state = status(&mut qmp).unwrap();
        assert_eq!((state.running, state.status), (false, RunState::Prelaunch));
        assert_eq!(migration(&mut qmp).unwrap().status, MigrationStatus::None);
        assert_eq!(qmp.peer_pid().unwrap(), Some(qemu.pid()));
        let error = qmp.execute::<Value>("no-such-command", ()).unwrap_err();
        assert!(error.is_unknown_command(), "{error}");
        assert_eq!(qmp.hmp("info status").unwrap().trim(), "VM status: paused (prelaunch)");
        qmp.execute::<Value>("cont", ()).unwrap();
        let resumed = qmp.wait_event(TIMEOUT, |event| event.name == "RESUME").unwrap();
        assert!(resumed.unwrap().timestamp.seconds > 0);
        assert!(status(&mut qmp).unwrap().running);
    }
}

#[test]
fn a_second_client_is_told_that_it_is_busy() {
    let Some((qemu, qmp)) = machine(PC, "-M none") else { return };
    let error = Qmp::connect(&qemu.qmp(), Duration::from_millis(200)).unwrap_err();
    assert!(matches!(error, QmpError::Busy { .. }), "{error}");
    drop(qmp);
    Qmp::connect(&qemu.qmp(), TIMEOUT).unwrap();
}

#[test]
fn a_guardian_goes_on_in_the_middle_of_a_command() {
    let halves =
        ["{\"execute\": \"sto", "{\"execute\": \"stop\"", "{\"a\": [[{", "\"", "\"\\u00", ""];
    let Some((qemu, first)) = machine(PC, "-M none") else { return };
    let mut socket = Some(first.try_clone().unwrap());
    drop(first);
    for half in halves {
        let taken = socket.take().unwrap();
        rustix::io::write(&taken, half.as_bytes()).unwrap();
        let mut next = Qmp::resume_on(taken, TIMEOUT).unwrap();
        assert_eq!(status(&mut next).unwrap().status, RunState::Running, "{half}");
        next.send_fd("any", qemu_log(&qemu).as_fd()).unwrap();
        socket = Some(next.try_clone().unwrap());
    }
    // And where the client died before it had entered command mode.
    drop(socket);
    let raw = UnixStream::connect(qemu.qmp()).unwrap();
    let mut next = Qmp::resume_on(raw.into(), TIMEOUT).unwrap();
    status(&mut next).unwrap();
}

#[test]
fn a_migration_goes_to_a_descriptor_of_ours() {
    let Some((_qemu, mut qmp)) = machine(PC, "-M pc -accel kvm -m 64 -S") else { return };
    let (mut here, there) = UnixStream::pair().unwrap();
    qmp.send_fd("memtwin", there.as_fd()).unwrap();
    drop(there);
    qmp.execute::<Value>("migrate", json!({"uri": "fd:memtwin"})).unwrap();
    let mut magic = [0; 8];
    here.read_exact(&mut magic).unwrap();
    assert_eq!(magic, *b"QEVM\0\0\0\x03");
    wait_for("pre-copy", || migration(&mut qmp).unwrap().status == MigrationStatus::Active);
    let ram = migration(&mut qmp).unwrap().ram.unwrap();
    assert!(ram.total > 64 << 20 && ram.page_size == 4096, "{ram:?}");
    qmp.execute::<Value>("migrate_cancel", ()).unwrap();
    // Read on, or the cancelling waits for room.
    let rest = std::thread::spawn(move || here.read_to_end(&mut Vec::new()));
    wait_for("the end", || !migration(&mut qmp).unwrap().status.is_under_way());
    assert_eq!(migration(&mut qmp).unwrap().status, MigrationStatus::Cancelled);
    let _ = rest.join();
}

#[test]
fn a_qemu_that_is_killed_is_gone() {
    let Some((mut qemu, mut qmp)) = machine(PC, "-M none") else { return };
    qemu.kill();
    let error = status(&mut qmp).unwrap_err();
    assert!(error.is_gone(), "{error}");
    let error = Qmp::connect(&qemu.qmp(), TIMEOUT).unwrap_err();
    assert!(matches!(error, QmpError::NobodyListens { .. }), "{error}");
}

fn qemu_log(qemu: &Qemu) -> File {
    File::open(qemu.dir().join("stderr")).unwrap()
}

/// One where QEMU refuses for a reason of its own: what a user should be shown.
#[test]
fn a_blocker_is_quoted() {
    let nvme = "-M q35 -m 64 -S -drive if=none,id=d,file=null-co://,format=raw -device nvme,drive=d,serial=1";
    let Some((_qemu, mut qmp)) = machine(PC, nvme) else { return };
    let refused = qmp.execute::<Value>("migrate", json!({"uri": "exec:cat >/dev/null"}));
    let reasons = migration(&mut qmp).unwrap().blocked_reasons;
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("nvme") || reasons.iter().any(|r| r.contains("nvme")), "{error}");
}
