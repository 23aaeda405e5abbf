//! QEMU or Memtwin ends in the middle: never a pass, and never a QEMU that is left otherwise than
//! it was found.

use crate::common::{Held, json, until};
use crate::machine::{BareMachine, PC, all_identical, none_judged};
use crate::moment::{CONT, INT, KILL, Moment, STOP, TERM};
use memtwin_bare::{BareImage, GuestJob, Report};
use memtwin_qemu::{parameters, status};
use memtwin_qmp::Qmp;
use std::time::{Duration, Instant};

/// More than the test would wait: an audit that ends has ended for another reason.
const LONG: &str = "--seconds 1h";

fn arguments(moment: Moment) -> &'static str {
    if moment == Moment::Stop { "--rounds 1" } else { LONG }
}

#[test]
fn qemu_is_killed() {
    for moment in Moment::ALL {
        let Some(mut machine) = BareMachine::writing("-m 64") else { return };
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
    let Some(mut machine) = BareMachine::writing("") else { return };
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
    let Some(mut machine) = BareMachine::writing("-m 64") else { return };
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
    let Some(mut machine) = BareMachine::writing("-m 64") else { return };
    let before = machine.setup();
    let mut audit = Moment::Stop.frozen(&mut machine, "--rounds 1");
    assert_eq!(machine.guardians().len(), 1);
    ended_by(KILL, &mut audit);
    machine.is_as(&before);
    machine.writes();
}

/// Stopped, and not killed: the guest does not stand still for as long.
#[test]
fn memtwin_is_stopped_while_the_guest_stands_still() {
    let Some(mut machine) = BareMachine::writing("-m 64") else { return };
    let before = machine.setup();
    let mut audit = Moment::Stop.frozen(&mut machine, "--rounds 1 --max-pause 2s");
    machine.writes();
    assert!(audit.0.try_wait().unwrap().is_none(), "it is still stopped");
    // The settings are Memtwin's to put back, when it can again.
    assert_eq!(machine.guardians().len(), 1);
    assert_ne!(machine.setup(), before);
    audit.signal(CONT);
    assert_eq!(audit.end().code(), Some(11), "{:?}", machine.record());
    none_judged(&machine.record(), &["memtwin was stopped"]);
    machine.is_as(&before);
}

/// The same in the middle of the last pass: QEMU waits to be read with its big lock held, and
/// answers nobody.
#[test]
fn memtwin_is_stopped_in_qemu_s_last_pass() {
    caught_in_qemu_s_last_pass(2, |machine, audit, before| {
        assert!(audit.0.try_wait().unwrap().is_none(), "it is still stopped");
        audit.signal(CONT);
        assert_eq!(audit.end().code(), Some(11), "{:?}", machine.record());
        none_judged(&machine.record(), &["memtwin was stopped"]);
        machine.is_as(before);
    });
}

/// Killed there, long before the guest must run again: its guardian ends the stream before it asks QEMU anything.
#[test]
fn memtwin_is_killed_in_qemu_s_last_pass() {
    caught_in_qemu_s_last_pass(1800, |machine, audit, before| {
        assert_eq!(audit.end().code(), None);
        machine.is_as(before);
    });
}

/// Stops Memtwin in QEMU's last pass, kills it if the guest may stand still for long, and waits until the guest
/// runs again.
fn caught_in_qemu_s_last_pass(
    max_pause: u64,
    then: impl Fn(&mut BareMachine, &mut Held, &crate::machine::Setup),
) {
    let image = tempfile::NamedTempFile::new().unwrap();
    // Far more than fits into the socket, so that the pass lasts; less than QEMU takes for too much.
    let job = GuestJob::Write { base: 16 << 20, pages: 50_000 };
    std::fs::write(image.path(), BareImage::X86.with(job).unwrap()).unwrap();
    let arguments = format!("-M pc -accel kvm -m 256 -kernel {}", image.path().display());
    let Some(mut machine) = BareMachine::start(PC, &arguments) else { return };
    let counter = Report::offset(BareImage::X86);
    let runs = |machine: &mut BareMachine| {
        let before = machine.word("pc.ram", counter + 8);
        until("the guest writes", || machine.word("pc.ram", counter + 8) != before);
    };
    runs(&mut machine);
    let before = machine.setup();
    // What is told QEMU in the end, in milliseconds, so that it need not try for long: a quarter of the pause.
    let limit = max_pause * 1000 / 4;
    for wait in [50, 80, 40, 110, 60, 140, 20, 200].repeat(3) {
        let mut audit = machine.auditing(&format!("--rounds 1 --max-pause {max_pause}s"));
        let began = Instant::now();
        while parameters(&mut machine.qmp)
            .is_ok_and(|all| all["downtime-limit"].as_u64() != Some(limit))
            && audit.0.try_wait().unwrap().is_none()
        {
            assert!(began.elapsed() < Duration::from_secs(120), "it never may end");
            std::thread::sleep(Duration::from_millis(1));
        }
        // The word for it follows at once, the pass within a tenth of a second; it takes about as long.
        std::thread::sleep(Duration::from_millis(wait));
        audit.signal(STOP);
        // QEMU may begin with it only now.
        std::thread::sleep(Duration::from_millis(400));
        machine.qmp.set_patience(Duration::from_secs(1));
        let blocked = status(&mut machine.qmp).is_err();
        machine.qmp.set_patience(Duration::from_secs(60));
        if blocked {
            if max_pause > 2 {
                audit.signal(KILL);
            }
            // It answers again, and the guest runs, and Memtwin is stopped all the time.
            until("QEMU answers", || status(&mut machine.qmp).unwrap().running);
            runs(&mut machine);
            return then(&mut machine, &mut audit, &before);
        }
        audit.signal(CONT);
        audit.end();
        machine.is_as(&before);
    }
    panic!("QEMU was never caught in its last pass");
}

/// Stopped while the guest runs, it does no harm: it goes on when it is continued.
#[test]
fn memtwin_is_stopped_while_the_guest_runs() {
    let Some(mut machine) = BareMachine::writing("-m 64") else { return };
    let mut audit = Moment::Hold.frozen(&mut machine, "--seconds 2");
    // Longer than it may with a guest that stands still.
    std::thread::sleep(Duration::from_secs(4));
    machine.writes();
    assert!(Moment::Hold.is_now(&mut machine));
    audit.signal(CONT);
    assert_eq!(audit.end().code(), Some(0), "{:?}", machine.record());
    all_identical(&machine.record());
}

/// A signal that comes before there is anything to report is an interruption too.
#[test]
fn memtwin_is_interrupted_at_once() {
    let Some(mut machine) = BareMachine::writing("") else { return };
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
