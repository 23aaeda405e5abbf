//! What an audit says, in each form; and that a dry run only says it.

use crate::common::{Place, conform, expect, memtwin, text};
use crate::machine::{BareMachine, all_identical};
use memtwin_qemu::{MigrationStatus, migration};
use memtwin_report::RunRecord;
use memtwin_report::record::RecordedKind;

#[test]
fn a_dry_run_changes_nothing() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let before = machine.setup();
    let (out, err) = expect(0, &mut machine.audit("--dry-run"));
    assert_eq!(err, "");
    for part in
        ["audit/pc.ram: 33554432 bytes, 0x0 at offset 0x0", "audit/pc.bios", "switchover-ack"]
    {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert_eq!(migration(&mut machine.qmp).unwrap().status, MigrationStatus::None);
    machine.is_as(&before);
}

#[test]
fn each_form() {
    let Some(machine) = BareMachine::writing("") else { return };
    let audit = |arguments: &[&str]| {
        let mut command = memtwin();
        command.arg("audit").arg(machine.qemu.qmp()).args(["--rounds", "2", "--quiet"]);
        command.args(["--max-pause", "1m"]);
        command.args(arguments);
        expect(0, &mut command).0
    };
    let ktap = audit(&["--format", "ktap"]);
    assert!(ktap.starts_with("KTAP version 1\n"), "{ktap}");
    assert!(ktap.contains(" audit/pc.ram") && !ktap.contains("not ok"), "{ktap}");
    let junit = audit(&["--format", "junit"]);
    assert!(junit.starts_with("<?xml") && junit.contains("audit/pc.ram"), "{junit}");
    assert!(junit.contains("failures=\"0\""), "{junit}");
    let json = audit(&["--json", "-"]);
    let record = serde_json::from_str::<RunRecord>(&json).unwrap();
    all_identical(&record);
    let place = Place::new();
    std::fs::write(place.path("record.json"), &json).unwrap();
    conform(&[&place.path("record.json")]);
    for case in &record.cases {
        let hypervisor = case.hypervisor().unwrap();
        assert!(hypervisor.name == "QEMU" && hypervisor.version.is_some(), "{hypervisor:?}");
        assert!(hypervisor.machine.is_some() && hypervisor.hold.is_some(), "{hypervisor:?}");
        let rounds = case.rounds().iter().filter(|round| round.kind != RecordedKind::PreCopy);
        let dirty: u64 = rounds.map(|round| round.dirty_pages).sum();
        if let Some(heat) = &case.regions()[0].heat {
            assert_eq!(heat.dirty.iter().sum::<u64>(), dirty, "{}", case.name());
        } else {
            assert!(case.control().is_some(), "{}", case.name());
        }
    }
    let provenance = record.provenance.unwrap();
    assert!(provenance.resolved["seed"].is_u64() && provenance.resolved["rounds"] == "2");
    let human = audit(&[]);
    assert!(human.starts_with("QEMU "), "{human}");
    assert!(human.trim_end().lines().last().unwrap().contains("0 pages lost"), "{human}");
}

/// Whoever pipes it into something that ends early.
#[test]
fn nobody_reads_the_results() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let before = machine.setup();
    let mut audit = machine.auditing("--rounds 1");
    drop(audit.0.stdout.take());
    let status = audit.end();
    let err = std::io::read_to_string(audit.0.stderr.take().unwrap()).unwrap();
    assert_eq!(status.code(), Some(0), "{}", text(err.as_bytes()));
    machine.is_as(&before);
}
