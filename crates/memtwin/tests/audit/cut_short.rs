//! QEMU or Memtwin ends in the middle: never a pass, and never a QEMU that is left otherwise than
//! it was found.

use crate::common::{Held, json};
use crate::machine::{Machine, none_judged};
use crate::moment::{CONT, INT, KILL, Moment, TERM};
use memtwin_qmp::Qmp;
use std::time::Duration;

/// More than the test would wait: an audit that ends has ended for another reason.
const LONG: &str = "--seconds 1h";

fn arguments(moment: Moment) -> &'static str {
    if moment == Moment::Stop { "--rounds 1" } else { LONG }
}

#[test]
fn qemu_is_killed() {
    for moment in Moment::ALL {
        let Some(mut machine) = Machine::writing("-m 64") else { return };
        let mut audit = moment.frozen(&mut machine, arguments(moment));
        machine.qemu.kill();
        audit.signal(CONT);
        assert_eq!(audit.end().code(), Some(11), "{moment:?}");
        none_judged(&machine.record(), &["QEMU", "ended"]);
        assert!(machine.guardians().is_empty());
    }
}

/// Hours before the next round.
#[test]
fn qemu_is_killed_in_a_long_wait() {
    let Some(mut machine) = Machine::writing("") else { return };
    let mut audit = machine.auditing("--seconds 1h --rounds-per-second 0.001");
    assert!(Moment::Hold.wait(&mut machine, &mut audit));
    std::thread::sleep(Duration::from_millis(300));
    machine.qemu.kill();
    assert_eq!(audit.end().code(), Some(11));
    none_judged(&machine.record(), &["QEMU"]);
}

fn ended_by(signal: i32, audit: &mut Held) {
    audit.signal(signal);
    let code = audit.end().code();
    assert_eq!(code, (signal != KILL).then_some(130));
}

#[test]
fn memtwin_is_interrupted_or_killed() {
    let Some(mut machine) = Machine::writing("-m 64") else { return };
    let before = machine.setup();
    for signal in [KILL, INT, TERM] {
        for moment in Moment::ALL {
            let mut audit = machine.auditing(arguments(moment));
            if moment.wait(&mut machine, &mut audit) {
                ended_by(signal, &mut audit);
            }
            machine.is_as(&before);
            machine.writes();
            if signal != KILL && moment == Moment::Hold {
                none_judged(&machine.record(), &["interrupted"]);
            }
        }
    }
}

/// Killed while it can't run, at the worst of moments.
#[test]
fn memtwin_is_killed_while_the_guest_stands_still() {
    let Some(mut machine) = Machine::writing("-m 64") else { return };
    let before = machine.setup();
    let mut audit = Moment::Stop.frozen(&mut machine, "--rounds 1");
    assert_eq!(machine.guardians().len(), 1);
    ended_by(KILL, &mut audit);
    machine.is_as(&before);
    machine.writes();
}

/// A signal that comes before there is anything to report is an interruption too.
#[test]
fn memtwin_is_interrupted_at_once() {
    let Some(mut machine) = Machine::writing("") else { return };
    let before = machine.setup();
    for delay in [1, 3, 10, 20, 30, 50, 80, 120] {
        let mut audit = machine.auditing(LONG);
        // Only once it can take signals.
        let busy = || Qmp::connect(&machine.qemu.qmp(), Duration::from_millis(300)).is_err();
        crate::common::until("it is connected", busy);
        std::thread::sleep(Duration::from_millis(delay));
        ended_by(INT, &mut audit);
        machine.is_as(&before);
        if machine.out().exists() {
            json(&machine.out());
        }
    }
}
