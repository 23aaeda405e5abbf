//! How long the guest stands still: nothing that we wait for, and nothing that is done to us, holds it up.

use crate::common::{Held, disk::Disk, expect, memtwin, text, until};
use crate::machine::{BareMachine, PC, none_judged};
use crate::moment::{CONT, INT, KILL, STOP};
use memtwin_child::Spawn;
use memtwin_qemu::{parameters, status};
use memtwin_qmp::QmpError;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// `memtwin replicate qemu:SOCKET TWIN`, a few rounds.
fn replicate(machine: &BareMachine, twin: &str) -> Command {
    let mut command = memtwin();
    command.arg("replicate").arg(format!("qemu:{}", machine.qemu.qmp().display())).arg(twin);
    command.args(["--quiet", "--rounds", "3", "--interval", "50ms", "--max-pause", "1m"]);
    command
}

/// Waits until QEMU was let to its last pass, or the command has ended.
fn lets_it_end(machine: &mut BareMachine, command: &mut Held) {
    until("QEMU may end", || {
        let all = parameters(&mut machine.qmp);
        // A quarter of the minute for which the guest may stand still.
        let may_end = all.is_ok_and(|all| all["downtime-limit"].as_u64() == Some(15_000));
        may_end || command.0.try_wait().unwrap().is_some()
    });
}

/// It stood still for us once, and runs.
fn has_been_let_run(machine: &mut BareMachine) {
    let mut resumed = false;
    until("the guest was paused and let run", || {
        let runs = status(&mut machine.qmp).unwrap().running;
        resumed |= machine.qmp.events().iter().any(|event| event.name == "RESUME");
        resumed && runs
    });
    machine.writes();
}

/// Frozen from the moment on at which the last pages are asked for: what is written to the twin then waits
/// for ever, and the guest does not.
#[test]
fn a_twin_s_frozen_disk_does_not_hold_the_guest_up() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let before = machine.setup();
    let disk = Disk::new(128);
    let twin = format!("file:{}", disk.file("twin").display());
    let mut replication = Held::spawn(&mut replicate(&machine, &twin));
    lets_it_end(&mut machine, &mut replication);
    disk.freeze();
    has_been_let_run(&mut machine);
    assert!(replication.0.try_wait().unwrap().is_none(), "it did not wait for the disk");
    disk.thaw();
    assert_eq!(replication.end().code(), Some(0));
    machine.is_as(&before);
}

/// A receiver of a twin in this directory, which listens by now.
fn receiver(twin: &std::path::Path) -> (Held, String) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = memtwin();
    command.arg("receive").arg(format!("127.0.0.1:{port}")).arg(twin);
    let mut held = Held::spawn(&mut command);
    let mut lines = BufReader::new(held.0.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("listening at") {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended");
    }
    thread::spawn(move || lines.read_to_end(&mut Vec::new()));
    (held, format!("tcp://127.0.0.1:{port}"))
}

#[test]
fn a_receiver_that_is_stopped_does_not_hold_the_guest_up() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let before = machine.setup();
    let (mut receiver, twin) = receiver(&machine.qemu.dir().join("twin"));
    let mut replication = Held::spawn(&mut replicate(&machine, &twin));
    lets_it_end(&mut machine, &mut replication);
    receiver.signal(STOP);
    has_been_let_run(&mut machine);
    assert!(replication.0.try_wait().unwrap().is_none(), "it did not wait for the receiver");
    receiver.signal(CONT);
    assert_eq!(replication.end().code(), Some(0));
    assert_eq!(receiver.end().code(), Some(0));
    machine.is_as(&before);
}

/// A receiver's frozen disk is the same to us as one that is stopped.
#[test]
fn a_receiver_s_frozen_disk_does_not_hold_the_guest_up() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let before = machine.setup();
    let disk = Disk::new(160);
    let (mut receiver, twin) = receiver(&disk.file("twin"));
    let mut replication = Held::spawn(&mut replicate(&machine, &twin));
    lets_it_end(&mut machine, &mut replication);
    disk.freeze();
    has_been_let_run(&mut machine);
    disk.thaw();
    assert_eq!(replication.end().code(), Some(0));
    assert_eq!(receiver.end().code(), Some(0));
    machine.is_as(&before);
}

/// Results that nobody takes, and a record on a disk that is frozen: both are written when QEMU is as it
/// was.
#[test]
fn results_are_written_when_qemu_is_as_it_was() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let before = machine.setup();
    let disk = Disk::new(32);
    let record = disk.file("record.json");
    let mut command = memtwin();
    command.arg("audit").arg(machine.qemu.qmp()).args(["--quiet", "--rounds", "3"]);
    command.args(["--max-pause", "1m", "--json"]).arg(&record);
    let mut audit = Held::spawn(&mut command);
    lets_it_end(&mut machine, &mut audit);
    disk.freeze();
    has_been_let_run(&mut machine);
    machine.is_as(&before);
    disk.thaw();
    assert_eq!(audit.end().code(), Some(0));
    assert!(fs::metadata(&record).unwrap().len() > 0);
}

/// A terminal that takes no more (Ctrl-S): a full pipe on standard error, where progress goes.
#[test]
fn progress_that_nobody_takes_does_not_hold_the_guest_up() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let before = machine.setup();
    let (reader, writer) = std::io::pipe().unwrap();
    rustix::pipe::fcntl_setpipe_size(&writer, 4096).unwrap();
    rustix::io::write(&writer, &[b'.'; 4096]).unwrap();
    let mut command = memtwin();
    command.arg("audit").arg(machine.qemu.qmp()).args(["--seconds", "2", "--max-pause", "1m"]);
    command.stdout(Stdio::piped()).stderr(writer);
    let mut audit = Held(command.spawn_bound().unwrap());
    drop(command);
    until("it is held", || {
        parameters(&mut machine.qmp).is_ok_and(|all| all["max-bandwidth"] == 10)
    });
    // For longer than it audits: it waits for the terminal, and the guest for nobody.
    for _ in 0..30 {
        thread::sleep(Duration::from_millis(100));
        machine.writes();
    }
    let mut reader = reader;
    let rest = thread::spawn(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        all
    });
    assert_eq!(audit.end().code(), Some(0));
    rest.join().unwrap();
    machine.is_as(&before);
}

/// A guardian that is stopped can do nothing, and holds nobody up.
#[test]
fn a_guardian_that_is_stopped_holds_nobody_up() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let before = machine.setup();
    let mut audit = machine.auditing("--seconds 2");
    until("there is a guardian", || machine.guardians().len() == 1);
    let guardian = rustix::process::Pid::from_raw(machine.guardians()[0] as i32).unwrap();
    rustix::process::kill_process(guardian, rustix::process::Signal::STOP).unwrap();
    let code = audit.end().code();
    assert!([Some(0), Some(11)].contains(&code), "{code:?}");
    machine.is_as(&before);
}

/// More memory than can be compared in the time: no verdict, no long pause, and a word that helps.
#[test]
fn a_bound_that_is_too_short_is_kept_and_told() {
    let Some(mut machine) = BareMachine::writing("-m 512") else { return };
    let before = machine.setup();
    expect(11, &mut machine.audit("--rounds 2 --max-pause 1ms"));
    machine.is_as(&before);
    machine.writes();
    none_judged(&machine.record(), &["--max-pause"]);
    let place = machine.qemu.dir().join("twin");
    let mut command = replicate(&machine, &format!("file:{}", place.display()));
    let (out, _) = expect(11, command.args(["--max-pause", "1ms"]));
    assert!(out.contains("--max-pause"), "{out}");
    machine.is_as(&before);
    // The control: with time enough both are judged.
    expect(0, &mut machine.audit("--rounds 2"));
}

/// Another client of QEMU's is answered, whatever we wait for: one that is refused waits for all who read
/// QEMU's memory under RCU, its migration among them.
#[test]
fn another_client_s_commands_do_not_wait_for_us() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    machine.qmp.set_patience(Duration::from_secs(15));
    let mut audit = machine.auditing("--seconds 4 --rounds-per-second 10");
    until("it is held", || {
        parameters(&mut machine.qmp).is_ok_and(|all| all["max-bandwidth"] == 10)
    });
    let mut refused = 0;
    while audit.0.try_wait().unwrap().is_none() {
        let device = serde_json::json!({ "driver": "virtio-rng-pci", "id": "zz" });
        match machine.qmp.execute::<serde_json::Value>("device_add", device) {
            // The audit is over, and its migration.
            Ok(_) => break,
            Err(QmpError::Refused { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert!(refused > 20, "{refused}");
    assert_eq!(audit.end().code(), Some(0));
}

/// Everybody who knew what there is to undo is killed (a cgroup's kill): the next run puts it back.
#[test]
fn what_a_killed_audit_and_guardian_have_left_is_put_back_by_the_next() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let before = machine.setup();
    let mut audit = machine.auditing("--seconds 1h");
    until("it is held", || {
        parameters(&mut machine.qmp).is_ok_and(|all| all["max-bandwidth"] == 10)
    });
    let guardian = rustix::process::Pid::from_raw(machine.guardians()[0] as i32).unwrap();
    rustix::process::kill_process(guardian, rustix::process::Signal::KILL).unwrap();
    audit.signal(KILL);
    audit.end();
    until("the migration has failed", || {
        !memtwin_qemu::migration(&mut machine.qmp).unwrap().status.is_under_way()
    });
    machine.writes();
    assert_ne!(machine.setup(), before, "nothing was left that could be put back");
    expect(0, &mut machine.audit("--rounds 2"));
    machine.is_as(&before);
}

/// Two monitors, two audits: the second is refused, and the first is not disturbed; also if they know
/// nothing of each other.
#[test]
fn two_audits_on_two_monitors() {
    let third = "-qmp unix:third,server=on,wait=off";
    let Some(mut machine) = BareMachine::writing(third) else { return };
    let before = machine.setup();
    let mut audit = machine.auditing("--seconds 1h");
    until("it is held", || {
        parameters(&mut machine.qmp).is_ok_and(|all| all["max-bandwidth"] == 10)
    });
    let elsewhere = tempfile::tempdir().unwrap();
    for (runtime, reason) in [(None, "another Memtwin"), (Some(elsewhere.path()), "under way")] {
        let mut second = memtwin();
        second.arg("audit").arg(machine.qemu.dir().join("third")).args(["--rounds", "2"]);
        if let Some(runtime) = runtime {
            second.env("XDG_RUNTIME_DIR", runtime);
        }
        let (_, err) = expect(3, &mut second);
        assert!(err.contains(reason), "{err}");
        machine.writes();
    }
    assert!(audit.0.try_wait().unwrap().is_none(), "{}", text(b"the first has ended"));
    audit.signal(INT);
    assert_eq!(audit.end().code(), Some(130));
    machine.is_as(&before);
}

/// Both at once, each knowing nothing of the other: they may disturb each other, and then there is no
/// verdict; QEMU is as it was in any case, and its guest runs.
#[test]
fn two_audits_that_begin_at_the_same_moment() {
    let third = "-qmp unix:third,server=on,wait=off";
    let Some(mut machine) = BareMachine::writing(third) else { return };
    let before = machine.setup();
    let elsewhere = tempfile::tempdir().unwrap();
    for _ in 0..8 {
        let mut first = machine.auditing("--rounds 2");
        let mut second = machine.audit("--rounds 2");
        second.env("XDG_RUNTIME_DIR", elsewhere.path());
        let mut other = memtwin();
        other.arg("audit").arg(machine.qemu.dir().join("third")).args(["--rounds", "2"]);
        other.args(["--max-pause", "1m", "--quiet"]).env("XDG_RUNTIME_DIR", elsewhere.path());
        let mut other = Held::spawn(&mut other);
        let codes = [first.end().code(), other.end().code()];
        assert!(codes.iter().all(|code| [Some(0), Some(3), Some(11)].contains(code)), "{codes:?}");
        machine.is_as(&before);
        machine.writes();
    }
}

/// cpr-reboot pauses the guest at the beginning of a migration, for as long as its memory takes.
#[test]
fn a_mode_that_pauses_the_guest_is_reset_and_put_back() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let mode = serde_json::json!({ "mode": "cpr-reboot" });
    let _: serde_json::Value = machine.qmp.execute("migrate-set-parameters", mode).unwrap();
    let before = machine.setup();
    let mut audit = machine.auditing("--seconds 2");
    until("it is held", || {
        parameters(&mut machine.qmp).is_ok_and(|all| all["max-bandwidth"] == 10)
    });
    assert_eq!(parameters(&mut machine.qmp).unwrap()["mode"], "normal");
    machine.writes();
    assert_eq!(audit.end().code(), Some(0));
    machine.is_as(&before);
    assert_eq!(parameters(&mut machine.qmp).unwrap()["mode"], "cpr-reboot");
}

/// Memory that is plugged between two stops is judged from then on, and what was judged stays so.
#[test]
fn a_dimm_that_is_plugged_between_two_stops() {
    let more = "-M pc -accel kvm -m 32M,slots=2,maxmem=1G -bios firmware";
    let Some(mut machine) = BareMachine::start(PC, more) else { return };
    machine.writes();
    let backend =
        serde_json::json!({ "qom-type": "memory-backend-ram", "id": "m", "size": 128 << 20 });
    let _: serde_json::Value = machine.qmp.execute("object-add", backend).unwrap();
    let mut audit = machine.auditing("--rounds 24 --pause-every 2 --rounds-per-second 20");
    // Refused while a migration is under way: the moment between two of them is short.
    until("it is plugged", || {
        let dimm = serde_json::json!({ "driver": "pc-dimm", "id": "d", "memdev": "m" });
        let plugged = machine.qmp.execute::<serde_json::Value>("device_add", dimm).is_ok();
        plugged || audit.0.try_wait().unwrap().is_some()
    });
    assert_eq!(audit.end().code(), Some(0), "{:?}", machine.record());
    let record = machine.record();
    let dimm = record.cases.iter().find(|case| case.name() == "audit/m");
    assert!(dimm.is_some_and(|case| case.passed()), "it was never plugged: {record:?}");
}
