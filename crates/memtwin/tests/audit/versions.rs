//! QEMUs of other versions: each is held by what it waits for, judged, and left as it was found.

use crate::common::{Held, expect, until};
use crate::machine::{ARM, BareMachine, PC, case};
use crate::moment::{CONT, INT, KILL, Moment, STOP};
use memtwin_qemu::{migration, parameters};
use memtwin_report::RunRecord;
use memtwin_report::record::Verdict;
use memtwin_repro::QemuFacts;
use memtwin_testbed::{Need, lacks, release_program};
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

const VERSIONS: [&str; 4] = ["5.2", "7.2", "10.0", "11.1"];

/// Those that are held by a dirty bitmap of ours.
pub(crate) const BY_BITMAP: [&str; 3] = ["5.2", "7.2", "11.1"];

/// What `max-bandwidth` is then, in bytes a second.
const FULL_PACE: u64 = (1 << 40) + 7;

const MACHINE: &str = "-accel kvm -m 32 -bios firmware -M";

/// The oldest machine type of each of these families that a version has, by its own list.
fn oldest(version: &'static str, program: &str, families: &[&str]) -> Vec<String> {
    let facts = QemuFacts::of(&release_program(version, program)).unwrap();
    families.iter().map(|family| facts.machine_types(family).pop().unwrap()).collect()
}

pub(crate) fn writing(version: &'static str, machine: &str) -> Option<BareMachine> {
    let mut started = BareMachine::start_version(version, PC, &format!("{MACHINE} {machine}"))?;
    started.writes();
    Some(started)
}

/// What could be read is identical, and the control was found.
pub(crate) fn all_that_can_be_read_is_identical(record: &RunRecord) {
    all_identical_of(record, "pc.ram");
}

/// The same of a machine whose memory has this name.
fn all_identical_of(record: &RunRecord, ram: &str) {
    for case in record.cases.iter().filter(|case| case.control().is_none()) {
        let verdict = case.verdict();
        assert!(matches!(verdict, Verdict::Identical | Verdict::Skipped), "{case:?}");
    }
    assert_eq!(case(record, &format!("audit/{ram}")).verdict(), Verdict::Identical);
    assert!(case(record, &format!("audit/{ram}/control")).passed(), "{record:?}");
}

#[test]
fn each_version_is_held_and_left_as_it_was() {
    for version in VERSIONS {
        for machine in ["pc", "q35"] {
            let Some(mut machine) = writing(version, machine) else { return };
            let before = machine.setup();
            let (foretold, _) = expect(0, &mut machine.audit("--dry-run"));
            assert_eq!(machine.setup(), before);
            let by_bitmap = BY_BITMAP.contains(&version);
            assert_eq!(foretold.contains("(dirty-bitmaps)"), by_bitmap, "{version}: {foretold}");
            assert_eq!(foretold.contains("(switchover-ack)"), !by_bitmap, "{version}: {foretold}");
            expect(0, &mut machine.audit("--rounds 3 --rounds-per-second 20"));
            machine.is_as(&before);
            let record = machine.record();
            all_that_can_be_read_is_identical(&record);
            // It was held: there were rounds, and the log named pages in them.
            let rounds = case(&record, "audit/pc.ram").rounds();
            assert!(rounds.len() > 3, "{version}: {rounds:?}");
            assert!(rounds[1..].iter().any(|round| round.dirty_pages > 0), "{version}: {rounds:?}");
        }
    }
}

/// `pc` and `q35` are the newest.
#[test]
fn the_oldest_machine_types_and_microvm_are_audited() {
    for version in VERSIONS {
        if lacks(&[Need::Release(version)]) {
            return;
        }
        let older = oldest(version, PC, &["pc", "q35"]).into_iter().map(|it| (it, "pc.ram"));
        for (machine, ram) in older.chain([("microvm".to_owned(), "microvm.ram")]) {
            let arguments = format!("{MACHINE} {machine}");
            let Some(mut machine) = BareMachine::start_version(version, PC, &arguments) else {
                return;
            };
            machine.writes_to(ram);
            let before = machine.setup();
            expect(0, &mut machine.audit("--rounds 2 --rounds-per-second 20"));
            machine.is_as(&before);
            all_identical_of(&machine.record(), ram);
        }
    }
}

/// Under TCG. Before 9.0 it loses what a guest writes again and again, and now and then a page afterwards too
/// (docs/findings.md, 4 and 5).
#[test]
fn aarch64_is_audited_in_its_oldest_and_its_newest_machine_type() {
    for version in VERSIONS {
        if lacks(&[Need::Release(version)]) {
            return;
        }
        let is_sound = ["10.0", "11.1"].contains(&version);
        for machine in oldest(version, ARM, &["virt"]).into_iter().chain(["virt".to_owned()]) {
            let what = format!("{version} {machine}");
            let arguments =
                format!("-M {machine} -cpu cortex-a57 -accel tcg -m 32 -bios arm-firmware");
            let Some(mut machine) = BareMachine::start_version(version, ARM, &arguments) else {
                return;
            };
            machine.writes_to("mach-virt.ram");
            let before = machine.setup();
            let mut codes = Vec::new();
            for _ in 0..5 {
                codes.push(
                    machine
                        .audit("--rounds 2 --rounds-per-second 20")
                        .output()
                        .unwrap()
                        .status
                        .code()
                        .unwrap(),
                );
                machine.is_as(&before);
                if !is_sound || codes.last() == Some(&0) {
                    break;
                }
            }
            let last = *codes.last().unwrap();
            assert!(last == 0 || !is_sound && last == 1, "{what}: {codes:?}");
            if last == 0 {
                all_identical_of(&machine.record(), "mach-virt.ram");
            }
        }
    }
}

/// It may pause its guest at any time, also while Memtwin is stopped: the guardian bounds that too.
#[test]
fn a_hold_that_may_fail_is_given_up_when_memtwin_is_stopped() {
    let legacy_off = "pc-i440fx-11.0 -global migration.switchover-ack-legacy=off";
    let Some(mut machine) = writing("11.1", legacy_off) else { return };
    let before = machine.setup();
    for _ in 0..20 {
        let mut audit = machine.auditing("--seconds 1h --max-pause 2s");
        // Its first pass, or the moments in which it is seen whether QEMU stays.
        until("it goes at full pace", || {
            parameters(&mut machine.qmp).unwrap()["max-bandwidth"] == FULL_PACE
        });
        audit.signal(STOP);
        let under_way =
            |machine: &mut BareMachine| migration(&mut machine.qmp).unwrap().status.is_under_way();
        let since = Instant::now();
        let was_under_way = under_way(&mut machine);
        while under_way(&mut machine) && since.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let is_given_up = was_under_way && !under_way(&mut machine);
        // Whether that, or QEMU was held already.
        machine.writes();
        audit.signal(CONT);
        audit.signal(INT);
        audit.end();
        machine.is_as(&before);
        if is_given_up {
            return;
        }
    }
    panic!("it was always held too soon");
}

/// It has the acknowledgement, and does not wait for it, which cannot be seen before.
#[test]
fn a_hold_that_does_not_hold_gives_way_to_the_next() {
    for (legacy, machine) in [("off", "pc-i440fx-11.0"), ("on", "pc")] {
        let machine = format!("{machine} -global migration.switchover-ack-legacy={legacy}");
        let Some(mut machine) = writing("11.1", &machine) else { return };
        let before = machine.setup();
        expect(0, &mut machine.audit("--rounds 3 --rounds-per-second 20"));
        machine.is_as(&before);
        all_that_can_be_read_is_identical(&machine.record());
    }
}

/// The guardian, or the next run if both were killed, takes our block node away with the settings.
#[test]
fn whoever_is_killed_no_block_node_stays() {
    for version in BY_BITMAP {
        let Some(mut machine) = writing(version, "pc") else { return };
        let before = machine.setup();
        for (moment, both) in
            [(Moment::PreCopy, false), (Moment::Hold, false), (Moment::Hold, true)]
        {
            let mut audit = moment.frozen(&mut machine, "--seconds 1h");
            assert_ne!(machine.setup(), before, "the control: something is changed");
            killed_with_guardian(&mut machine, &mut audit, both);
            if both {
                assert_ne!(machine.setup(), before, "the control: it was not put back yet");
                expect(0, &mut machine.audit("--rounds 1 --rounds-per-second 20"));
            }
            machine.is_as(&before);
            machine.writes();
        }
    }
}

/// Kills an audit, its guardian first if both; QEMU has seen it then.
pub(crate) fn killed_with_guardian(machine: &mut BareMachine, audit: &mut Held, both: bool) {
    let guardians = machine.guardians();
    assert_eq!(guardians.len(), 1);
    if both {
        kill(guardians[0]);
    }
    audit.signal(KILL);
    assert_eq!(audit.0.wait().unwrap().signal(), Some(KILL));
    if both {
        until("QEMU has seen it", || !migration(&mut machine.qmp).unwrap().status.is_under_way());
    }
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
