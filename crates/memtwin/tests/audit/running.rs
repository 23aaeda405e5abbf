//! `--judge running`: memory is read while the guest runs, and it is paused for suspects alone.

use crate::machine::{BareMachine, PC, WRITING, case};
use crate::moment::Moment;
use memtwin_pages::Gpa;
use memtwin_report::RunRecord;
use memtwin_report::record::{JudgeFacts, JudgeKind, Verdict};

/// A page that the guest leaves alone.
const PAGE: u64 = 0x0123_4000;

/// How often the guest was paused since it was last asked.
fn pauses(machine: &mut BareMachine) -> usize {
    machine.qmp.look_for_events().unwrap();
    machine.qmp.events().iter().filter(|event| event.name == "STOP").count()
}

fn judge(record: &RunRecord, name: &str) -> JudgeFacts {
    *case(record, name).judge().unwrap()
}

/// Every block was swept and is identical, and the control was found.
fn all_swept(record: &RunRecord) {
    let (controls, blocks): (Vec<_>, Vec<_>) =
        record.cases.iter().partition(|case| case.control().is_some());
    assert!(blocks.iter().any(|case| case.name() == "audit/pc.ram"), "{record:?}");
    // An older QEMU does not say where some blocks lie.
    for case in blocks.into_iter().filter(|case| case.verdict() != Verdict::Skipped) {
        let judge = case.judge().unwrap();
        assert_eq!(
            (case.verdict(), judge.kind),
            (Verdict::Identical, JudgeKind::Running),
            "{case:?}"
        );
        assert!(
            judge.sweeps > 0 && judge.pages_compared >= case.regions()[0].bytes / 4096,
            "{case:?}"
        );
        assert_eq!((judge.confirmed, judge.paused_us), (0, None), "{case:?}");
    }
    let [control] = controls[..] else { panic!("one control: {record:?}") };
    assert!(control.passed() && !control.control().unwrap().injected.is_empty(), "{control:?}");
}

#[test]
fn a_busy_guest_is_judged_without_a_pause() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let before = machine.setup();
    pauses(&mut machine);
    let mut audit = machine.auditing("--judge running --seconds 2 --sweeps 2");
    assert_eq!(audit.end().code(), Some(0));
    assert_eq!(pauses(&mut machine), 0);
    let record = machine.record();
    all_swept(&record);
    assert!(judge(&record, "audit/pc.ram").sweeps >= 2);
    machine.is_as(&before);
    machine.writes();
}

/// Held by a dirty bitmap, by an acknowledgement, or by whichever of the two holds it.
#[test]
fn other_versions_of_qemu_are_judged_without_a_pause() {
    for version in ["5.2", "7.2", "11.1"] {
        let Some(mut machine) = BareMachine::start_version(version, PC, WRITING) else { return };
        machine.writes();
        let before = machine.setup();
        pauses(&mut machine);
        let mut audit = machine.auditing("--judge running --seconds 2");
        assert_eq!(audit.end().code(), Some(0), "{version}: {:?}", machine.record().notes);
        assert_eq!(pauses(&mut machine), 0, "{version}");
        all_swept(&machine.record());
        machine.is_as(&before);
    }
}

#[test]
fn a_page_that_the_log_never_named_is_confirmed_in_a_pause() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let before = machine.setup();
    pauses(&mut machine);
    let mut audit = machine.auditing("--judge running --seconds 2");
    assert!(Moment::Hold.wait(&mut machine, &mut audit));
    machine.poke("pc.ram", PAGE + 0x321, b"lost!");
    assert_eq!(audit.end().code(), Some(1));
    assert_eq!(pauses(&mut machine), 1);
    let record = machine.record();
    let ram = case(&record, "audit/pc.ram");
    let [lost] = ram.lost() else { panic!("{ram:?}") };
    assert_eq!((lost.gpa, lost.first_byte, lost.bytes), (Gpa(PAGE), 0x321, 5));
    assert!(lost.detail.as_ref().unwrap().memory.contains("6c6f737421"), "{lost:?}");
    let judge = judge(&record, "audit/pc.ram");
    assert_eq!((judge.kind, judge.confirmed), (JudgeKind::Running, 1));
    assert!(judge.paused_us.is_some());
    for case in record.cases.iter().filter(|case| case.name() != "audit/pc.ram") {
        assert!(case.passed(), "{case:?}");
    }
    machine.is_as(&before);
    machine.writes();
}

#[test]
fn without_a_pause_a_suspect_is_neither_lost_nor_a_pass() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let before = machine.setup();
    pauses(&mut machine);
    let mut audit = machine.auditing("--judge running --never-pause --seconds 2");
    assert!(Moment::Hold.wait(&mut machine, &mut audit));
    machine.poke("pc.ram", PAGE + 0x321, b"lost!");
    assert_eq!(audit.end().code(), Some(11));
    assert_eq!(pauses(&mut machine), 0);
    let record = machine.record();
    let ram = case(&record, "audit/pc.ram");
    assert_eq!((ram.verdict(), ram.lost().len()), (Verdict::Inconclusive, 0));
    let reason = ram.reason().unwrap();
    assert!(reason.starts_with("1 pages differ that the log had to name"), "{reason}");
    machine.is_as(&before);
}

/// What is different only until the next sweep is a matter of the running guest.
#[test]
fn a_page_that_is_put_back_is_dismissed() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let mut audit = machine.auditing("--judge running --seconds 6 --read-rate 256M");
    assert!(Moment::Hold.wait(&mut machine, &mut audit));
    // For some sweeps, and long before the audit ends.
    for _ in 0..20 {
        machine.poke("pc.ram", PAGE + 0x321, b"lost!");
        std::thread::sleep(std::time::Duration::from_millis(20));
        machine.poke("pc.ram", PAGE + 0x321, &[0; 5]);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(audit.end().code(), Some(0));
    all_swept(&machine.record());
}

/// Reading all of it would take longer than it may stand still; without a word it is not paused for that.
#[test]
fn a_large_guest_is_judged_while_it_runs_unless_told_otherwise() {
    for (memory, judge, expected) in [
        ("-m 5G", "", "the guest is paused only if pages seem to be lost"),
        ("-m 5G", "--judge paused", "the guest is paused at the end"),
        ("-m 5G", "--pause-every 3", "the guest is paused at the end"),
        ("-m 2G", "", "the guest is paused at the end"),
        ("-m 2G", "--judge running --never-pause", "the guest is not paused"),
    ] {
        let Some(machine) = BareMachine::writing(memory) else { return };
        let mut command = machine.audit("--dry-run");
        command.args(judge.split_whitespace());
        let (said, _) = crate::common::expect(0, &mut command);
        assert!(said.contains(expected), "{memory} {judge}: {said}");
    }
}

/// Nobody reads beside a guest that does not run: it stands still already.
#[test]
fn a_guest_that_somebody_has_paused_is_judged_as_it_stands() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let mut audit = machine.auditing("--judge running --seconds 60");
    assert!(Moment::Hold.wait(&mut machine, &mut audit));
    machine.qmp.execute::<serde_json::Value>("stop", ()).unwrap();
    assert_eq!(audit.end().code(), Some(0));
    let record = machine.record();
    let ram = case(&record, "audit/pc.ram");
    let kind = judge(&record, "audit/pc.ram").kind;
    let seen = (ram.verdict(), kind, ram.digest().len());
    assert_eq!(seen, (Verdict::Identical, JudgeKind::Paused, 1));
}

/// TCG, whose log is another one.
#[test]
fn a_guest_under_tcg_is_judged_without_a_pause() {
    let Some(mut machine) = BareMachine::start(PC, "-M pc -accel tcg -m 32 -bios firmware") else {
        return;
    };
    machine.writes();
    pauses(&mut machine);
    let mut audit = machine.auditing("--judge running --seconds 2");
    let code = audit.end().code();
    assert_eq!(code, Some(0), "{:?}", machine.record().cases);
    assert_eq!(pauses(&mut machine), 0);
    all_swept(&machine.record());
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let refused = |arguments: &str, part: &str| {
        let mut command = crate::common::memtwin();
        command.args(["audit", "/nonexistent"]).args(arguments.split_whitespace());
        let (_, said) = crate::common::expect(2, &mut command);
        assert!(said.contains(part), "{said}");
    };
    refused("--never-pause", "--never-pause is for --judge running");
    refused("--judge paused --sweeps 2", "--sweeps is for --judge running");
    refused("--judge running --pause-every 2", "--pause-every is for --judge paused");
}
