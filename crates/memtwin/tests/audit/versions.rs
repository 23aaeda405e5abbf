//! QEMUs of other versions: each is held by what it waits for, judged, and left as it was found.

use crate::common::{expect, until};
use crate::machine::{BareMachine, PC, case};
use crate::moment::{KILL, Moment};
use memtwin_qemu::{BlockNode, block_nodes};
use memtwin_qmp::Qmp;
use memtwin_report::RunRecord;
use memtwin_report::record::Verdict;
use memtwin_testbed::{Need, lacks};
use serde_json::{Value, json};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

const VERSIONS: [&str; 4] = ["5.2", "7.2", "10.0", "11.1"];

/// Those that are held by a dirty bitmap of ours.
const BY_BITMAP: [&str; 3] = ["5.2", "7.2", "11.1"];

const MACHINE: &str = "-accel kvm -m 32 -bios firmware -M";

fn writing(version: &'static str, machine: &str) -> Option<BareMachine> {
    let mut started = BareMachine::start_version(version, PC, &format!("{MACHINE} {machine}"))?;
    started.writes();
    Some(started)
}

/// What could be read is identical, and the control was found.
fn all_that_can_be_read_is_identical(record: &RunRecord) {
    for case in record.cases.iter().filter(|case| case.control().is_none()) {
        let verdict = case.verdict();
        assert!(matches!(verdict, Verdict::Identical | Verdict::Skipped), "{case:?}");
    }
    assert_eq!(case(record, "audit/pc.ram").verdict(), Verdict::Identical);
    assert!(case(record, "audit/pc.ram/control").passed(), "{record:?}");
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
            expect(0, &mut machine.audit("--rounds 3"));
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

/// It has the acknowledgement, and does not wait for it, which cannot be seen before.
#[test]
fn a_hold_that_does_not_hold_gives_way_to_the_next() {
    for (legacy, machine) in [("off", "pc-i440fx-11.0"), ("on", "pc")] {
        let machine = format!("{machine} -global migration.switchover-ack-legacy={legacy}");
        let Some(mut machine) = writing("11.1", &machine) else { return };
        let before = machine.setup();
        expect(0, &mut machine.audit("--rounds 3"));
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
            let guardians = machine.guardians();
            assert_eq!(guardians.len(), 1, "{version}");
            assert_ne!(machine.setup(), before, "the control: something is changed");
            if both {
                kill(guardians[0]);
            }
            audit.signal(KILL);
            assert_eq!(audit.0.wait().unwrap().signal(), Some(KILL));
            if both {
                until("QEMU has seen it", || {
                    !memtwin_qemu::migration(&mut machine.qmp).unwrap().status.is_under_way()
                });
                assert_ne!(machine.setup(), before, "the control: nobody has put it back");
                expect(0, &mut machine.audit("--rounds 1"));
            }
            machine.is_as(&before);
            machine.writes();
        }
    }
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// A QEMU with a qcow2 disk of the owner's.
fn with_disk(version: &'static str, machine: &str, disk: &Path) -> Option<BareMachine> {
    let drive =
        format!("-drive if=none,id=drive0,node-name=disk0,format=qcow2,file={}", disk.display());
    writing(version, &format!("{machine} {drive}"))
}

fn own_bitmap(machine: &mut BareMachine) -> Option<BlockNode> {
    let nodes = block_nodes(&mut machine.qmp).unwrap();
    nodes.into_iter().find(|node| node.bitmaps.contains(&"backup".to_owned()))
}

/// How many bytes the owner's bitmap says were written.
fn written(qmp: &mut Qmp) -> u64 {
    let nodes: Value = qmp.execute("query-named-block-nodes", ()).unwrap();
    let bitmaps =
        nodes.as_array().unwrap().iter().filter_map(|node| node["dirty-bitmaps"].as_array());
    let own = |bitmap: &&Value| bitmap["name"] == "backup";
    bitmaps.flatten().find(own).unwrap()["count"].as_u64().unwrap()
}

/// A persistent bitmap of an incremental backup: whatever the audit comes to, it is in the image after
/// the guest was shut down, and says what was written.
#[test]
fn a_dirty_bitmap_of_the_owner_s_survives() {
    let dir = tempfile::tempdir().unwrap();
    let held = [("10.0", "pc", 0), ("11.1", "pc-i440fx-11.0", 0)];
    // The newest has an acknowledgement that it may wait for; whether it does is seen when it is tried.
    let refused = [("5.2", "pc", 3), ("7.2", "pc", 3), ("11.1", "pc", 11)];
    for (at, (version, kind, code)) in held.into_iter().chain(refused).enumerate() {
        let disk = dir.path().join(format!("{at}.qcow2"));
        if lacks(&[Need::Program("qemu-img")]) {
            return;
        }
        let mut create = Command::new("qemu-img");
        expect(0, create.args(["create", "-q", "-f", "qcow2"]).arg(&disk).arg("16M"));
        let Some(mut machine) = with_disk(version, kind, &disk) else { return };
        let bitmap = json!({ "node": "disk0", "name": "backup", "persistent": true });
        let _: Value = machine.qmp.execute("block-dirty-bitmap-add", bitmap).unwrap();
        let before = machine.setup();
        let said = expect(code, &mut machine.audit("--rounds 2"));
        machine.is_as(&before);
        if code == 0 {
            all_that_can_be_read_is_identical(&machine.record());
        } else {
            let said = said.0 + &said.1;
            assert!(said.contains("disk0/backup"), "{version}: {said}");
        }
        machine.qmp.hmp("qemu-io drive0 \"write 1M 128k\"").unwrap();
        assert_eq!(written(&mut machine.qmp), 128 << 10, "{version}");
        let _: Value = machine.qmp.execute("quit", ()).unwrap();
        until("QEMU has ended", || machine.qemu.ended().unwrap().is_some());
        let Some(mut again) = with_disk(version, kind, &disk) else { return };
        assert!(own_bitmap(&mut again).is_some(), "{version}: it is gone from the image");
        assert_eq!(written(&mut again.qmp), 128 << 10, "{version}");
    }
}
