//! A guest that writes, and a log that tells the truth.

use crate::common::{expect, run};
use crate::machine::{BareMachine, all_identical, case};
use memtwin_report::record::RecordedKind;

#[test]
fn every_block_is_identical_and_qemu_is_as_before() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let before = machine.setup();
    assert_eq!(before.guest, "running");
    let (out, _) = expect(0, &mut machine.audit("--rounds 3"));
    assert!(out.contains("the guest stood still for"), "{out}");
    machine.is_as(&before);
    machine.writes();

    let record = machine.record();
    all_identical(&record);
    let ram = case(&record, "audit/pc.ram");
    let deltas: Vec<_> =
        ram.rounds().iter().filter(|round| round.kind == RecordedKind::Delta).collect();
    assert!(deltas.len() > 1 && deltas.iter().all(|round| round.dirty_pages >= 100), "{ram:?}");
    assert!(ram.rounds()[0].sent_pages >= (32 << 20) / ram.page_size(), "{ram:?}");
    assert_eq!(ram.exercised(), Some(true));
    assert!(ram.guest_pause().is_some_and(|pause| !pause.is_zero()), "{ram:?}");
    // Compared, and nothing more: nobody wrote it.
    assert_eq!(case(&record, "audit/pc.bios").exercised(), Some(false));
    let idle = record.cases.iter().filter(|case| case.is_idle()).count();
    assert!(out.contains(&format!("({idle} not exercised: ")), "{out}");

    // At once again: nothing of the first is left in the way.
    expect(0, &mut machine.audit("--rounds 1"));
    machine.is_as(&before);
    machine.writes();
}

#[test]
fn it_is_judged_at_several_stops_of_one_run() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let before = machine.setup();
    let (out, _) =
        expect(0, &mut machine.audit("--rounds 5 --pause-every 2 --rounds-per-second 9"));
    assert_eq!(out.matches("the guest stood still for").count(), 3, "{out}");
    machine.is_as(&before);
    machine.writes();
    let record = machine.record();
    all_identical(&record);
    let rounds = case(&record, "audit/pc.ram").rounds();
    let count = |kind| rounds.iter().filter(|round| round.kind == kind).count();
    assert_eq!((count(RecordedKind::PreCopy), count(RecordedKind::Delta)), (3, 5));
    assert!(count(RecordedKind::Final) >= 3);
    assert!(rounds.iter().enumerate().all(|(n, round)| round.n as usize == n));
}

#[test]
fn settings_of_somebody_else_are_put_back() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let tls = "{\"capabilities\": [{\"capability\": \"xbzrle\", \"state\": true},
        {\"capability\": \"auto-converge\", \"state\": true},
        {\"capability\": \"events\", \"state\": true},
        {\"capability\": \"return-path\", \"state\": true}]}";
    let capabilities: serde_json::Value = serde_json::from_str(tls).unwrap();
    machine.qmp.execute::<serde_json::Value>("migrate-set-capabilities", capabilities).unwrap();
    let parameters = serde_json::json!({
        "max-bandwidth": 7 << 20, "downtime-limit": 77, "tls-creds": "none-such"
    });
    machine.qmp.execute::<serde_json::Value>("migrate-set-parameters", parameters).unwrap();
    let before = machine.setup();
    let output = run(&mut machine.audit("--rounds 2"));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    machine.is_as(&before);
}
