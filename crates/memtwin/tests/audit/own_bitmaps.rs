//! Dirty bitmaps of the owner's, of incremental backups, on QEMUs of several versions: whatever an audit comes
//! to, they stay, and so does what the owner has said of them.

use crate::common::{expect, until};
use crate::machine::BareMachine;
use crate::moment::Moment;
use crate::versions::{
    BY_BITMAP, all_that_can_be_read_is_identical, killed_with_guardian, writing,
};
use memtwin_qemu::{BlockNode, block_nodes, parameters};
use memtwin_qmp::Qmp;
use memtwin_testbed::{Need, lacks};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

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

/// The owner's bitmap survives a shutdown, and says what was written meanwhile.
fn its_bitmap_survives(mut machine: BareMachine, version: &'static str, kind: &str, disk: &Path) {
    machine.qmp.hmp("qemu-io drive0 \"write 1M 128k\"").unwrap();
    assert_eq!(written(&mut machine.qmp), 128 << 10, "{version}");
    let _: Value = machine.qmp.execute("quit", ()).unwrap();
    until("QEMU has ended", || machine.qemu.ended().unwrap().is_some());
    let Some(mut again) = with_disk(version, kind, disk) else { return };
    assert!(own_bitmap(&mut again).is_some(), "{version}: it is gone from the image");
    assert_eq!(written(&mut again.qmp), 128 << 10, "{version}");
}

/// A qcow2 disk, empty, and a QEMU that has it with a persistent bitmap.
fn with_own_bitmap(version: &'static str, kind: &str, disk: &Path) -> Option<BareMachine> {
    if lacks(&[Need::Program("qemu-img")]) {
        return None;
    }
    let mut create = Command::new("qemu-img");
    expect(0, create.args(["create", "-q", "-f", "qcow2"]).arg(disk).arg("16M"));
    let mut machine = with_disk(version, kind, disk)?;
    let bitmap = json!({ "node": "disk0", "name": "backup", "persistent": true });
    let _: Value = machine.qmp.execute("block-dirty-bitmap-add", bitmap).unwrap();
    Some(machine)
}

/// The owner has said which bitmaps are migrated: that is put back to the letter, whoever is killed, and the
/// bitmaps are let alone.
#[test]
fn a_mapping_of_the_owner_s_is_put_back() {
    const MAPPING: &str = "block-bitmap-mapping";
    let dir = tempfile::tempdir().unwrap();
    for version in BY_BITMAP {
        let disk = dir.path().join(version);
        let Some(mut machine) = with_own_bitmap(version, "pc", &disk) else { return };
        let bitmap = json!({ "name": "backup", "alias": "weekly" });
        let mapping = json!([{ "node-name": "disk0", "alias": "d", "bitmaps": [bitmap] }]);
        let set = json!({ MAPPING: mapping });
        let _: Value = machine.qmp.execute("migrate-set-parameters", &set).unwrap();
        let before = machine.setup();
        let mapped =
            |machine: &mut BareMachine| parameters(&mut machine.qmp).unwrap()[MAPPING].clone();
        let owners = mapped(&mut machine);
        assert_eq!(owners[0]["bitmaps"][0]["alias"], "weekly");
        expect(0, &mut machine.audit("--rounds 2 --rounds-per-second 20"));
        machine.is_as(&before);
        all_that_can_be_read_is_identical(&machine.record());
        for both in [false, true] {
            let mut audit = Moment::Hold.frozen(&mut machine, "--seconds 1h");
            assert_ne!(mapped(&mut machine), owners, "the control: it is changed");
            killed_with_guardian(&mut machine, &mut audit, both);
            if both {
                assert_ne!(mapped(&mut machine), owners, "the control: it was not put back yet");
                expect(0, &mut machine.audit("--rounds 1 --rounds-per-second 20"));
            }
            machine.is_as(&before);
        }
        its_bitmap_survives(machine, version, "pc", &disk);
    }
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
        let Some(mut machine) = with_own_bitmap(version, kind, &disk) else { return };
        let before = machine.setup();
        let said = expect(code, &mut machine.audit("--rounds 2 --rounds-per-second 20"));
        machine.is_as(&before);
        if code == 0 {
            all_that_can_be_read_is_identical(&machine.record());
        } else {
            let said = said.0 + &said.1;
            assert!(said.contains("disk0/backup"), "{version}: {said}");
        }
        its_bitmap_survives(machine, version, kind, &disk);
    }
}
