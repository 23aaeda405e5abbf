//! Somebody else at a second monitor, in the middle of an audit; and a guest that ends or reboots.

use crate::common::expect;
use crate::machine::{BareMachine, all_identical, none_judged};
use crate::moment::{CONT, Moment};
use memtwin_qemu::{migration, status};
use memtwin_report::record::Verdict;
use serde_json::Value;

fn execute(machine: &mut BareMachine, command: &str) -> Result<Value, memtwin_qmp::QmpError> {
    machine.qmp.execute(command, ())
}

/// What others have paused we don't let run; what was written before is judged.
#[test]
fn somebody_pauses_the_guest() {
    for arguments in ["--seconds 3", "--rounds 4 --pause-every 2"] {
        let Some(mut machine) = BareMachine::writing("") else { return };
        let mut before = machine.setup();
        let mut audit = machine.auditing(arguments);
        assert!(Moment::Hold.wait(&mut machine, &mut audit));
        // Until it has surely written since pre-copy.
        for _ in 0..3 {
            machine.writes();
        }
        execute(&mut machine, "stop").unwrap();
        assert_eq!(audit.end().code(), Some(0), "{arguments}: {:?}", machine.record());
        before.guest = "paused".to_owned();
        machine.is_as(&before);
        all_identical(&machine.record());
        execute(&mut machine, "cont").unwrap();
        machine.writes();
    }
}

/// Paused by somebody, QEMU goes on to its last page by itself; let run again by somebody, it is
/// no guest that stands still.
#[test]
fn somebody_lets_the_guest_run_under_our_eyes() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let before = machine.setup();
    let mut inconclusive = 0;
    for _ in 0..5 {
        let mut audit = Moment::Stop.frozen(&mut machine, "--rounds 1");
        let refused = execute(&mut machine, "cont").unwrap_err().to_string();
        assert!(refused.contains("not finalized yet"), "{refused}");
        // Where Memtwin was frozen too early, QEMU writes to it with its big lock held, and answers
        // nobody until it is read.
        let patience = machine.qmp.patience();
        machine.qmp.set_patience(std::time::Duration::from_secs(5));
        if execute(&mut machine, "migrate_cancel").is_ok() {
            crate::common::until("it runs", || status(&mut machine.qmp).unwrap().running);
        }
        machine.qmp.set_patience(patience);
        audit.signal(CONT);
        let code = audit.end().code();
        machine.is_as(&before);
        match code {
            // All had been compared before we came.
            Some(0) => all_identical(&machine.record()),
            Some(11) => {
                none_judged(
                    &machine.record(),
                    &["while it was compared", "the guest still runs", "QEMU ended the migration"],
                );
                inconclusive += 1;
            }
            other => panic!("{other:?}: {:?}", machine.record()),
        }
    }
    assert!(inconclusive > 0, "we always came too late");
}

#[test]
fn somebody_cancels_the_migration() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let before = machine.setup();
    let mut audit = machine.auditing("--seconds 1h");
    assert!(Moment::Hold.wait(&mut machine, &mut audit));
    execute(&mut machine, "migrate_cancel").unwrap();
    assert_eq!(audit.end().code(), Some(11));
    machine.is_as(&before);
    machine.writes();
    none_judged(&machine.record(), &["QEMU ended the migration"]);
}

/// An odd one, which QEMU allows: pause it, let it go to its end, cancel, let it run.
#[test]
fn somebody_ends_it_behind_our_back_while_we_sleep() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let before = machine.setup();
    let mut audit = machine.auditing("--seconds 1m");
    assert!(Moment::Hold.wait(&mut machine, &mut audit));
    execute(&mut machine, "stop").unwrap();
    assert!(Moment::Stop.wait(&mut machine, &mut audit));
    audit.signal(crate::moment::STOP);
    execute(&mut machine, "migrate_cancel").unwrap();
    crate::common::until("it is cancelled", || {
        !migration(&mut machine.qmp).unwrap().status.is_under_way()
    });
    execute(&mut machine, "cont").unwrap();
    audit.signal(CONT);
    assert_eq!(audit.end().code(), Some(11));
    machine.is_as(&before);
    machine.writes();
    let record = machine.record();
    assert!(record.cases.iter().all(|case| case.verdict() == Verdict::Inconclusive), "{record:?}");
}

#[test]
fn the_guest_reboots() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let before = machine.setup();
    let mut audit = machine.auditing("--seconds 3");
    assert!(Moment::Hold.wait(&mut machine, &mut audit));
    for _ in 0..3 {
        execute(&mut machine, "system_reset").unwrap();
        machine.writes();
    }
    assert_eq!(audit.end().code(), Some(0));
    machine.is_as(&before);
    all_identical(&machine.record());
}

#[test]
fn the_guest_shuts_down() {
    let Some(mut machine) = BareMachine::writing("-no-reboot") else { return };
    let mut audit = machine.auditing("--seconds 1h");
    assert!(Moment::Hold.wait(&mut machine, &mut audit));
    execute(&mut machine, "system_reset").unwrap();
    assert_eq!(audit.end().code(), Some(11));
    none_judged(&machine.record(), &["QEMU"]);
}

/// Two at once: the second is told, and the first is not disturbed.
#[test]
fn two_audits_at_once() {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let before = machine.setup();
    let mut audit = machine.auditing("--seconds 1h");
    assert!(Moment::Hold.wait(&mut machine, &mut audit));
    let (_, err) = expect(3, &mut machine.audit("--seconds 1"));
    assert!(err.contains("one QMP client at a time"), "{err}");
    audit.signal(crate::moment::INT);
    assert_eq!(audit.end().code(), Some(130));
    machine.is_as(&before);
}
