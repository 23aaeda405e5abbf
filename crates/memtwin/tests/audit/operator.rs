//! An operator who acts in the middle of an audit: each action at each moment, with the counters of both
//! guests watched. Whatever comes of the audit: no guest runs twice, none is paused or let run by us, and
//! what the operator has set stays.

use crate::common::{Held, until};
use crate::machine::{BareMachine, PC, WRITING};
use crate::moment::INT;
use memtwin_qemu::{
    Capabilities, MigrationStatus, RunState, capabilities, migration, parameters, set_capabilities,
    status,
};
use memtwin_qmp::QmpError;
use serde_json::{Value, json};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    Opening,
    PreCopy,
    Round,
    SwitchOver,
    Judging,
    Undoing,
}

const MOMENTS: [Moment; 6] = [
    Moment::Opening,
    Moment::PreCopy,
    Moment::Round,
    Moment::SwitchOver,
    Moment::Judging,
    Moment::Undoing,
];

/// What the operator sets: no values of ours.
const BANDWIDTH: u64 = 7_777_777_777;
const DOWNTIME: u64 = 777;

impl Moment {
    /// Whether it is now, as far as a second monitor can tell.
    fn is_now(self, machine: &mut BareMachine, began: Instant) -> bool {
        let qmp = &mut machine.qmp;
        let set = |qmp: &mut _, name: &str| parameters(qmp).map(|all| all[name].as_u64());
        match self {
            // Before there is a migration, or just when it begins.
            Self::Opening => began.elapsed() > Duration::from_millis(40),
            Self::PreCopy => migration(qmp).is_ok_and(|it| it.status.is_under_way()),
            Self::Round | Self::Undoing => {
                set(qmp, "max-bandwidth").is_ok_and(|value| value == Some(10))
            }
            // A quarter of the minute for which the guest may stand still.
            Self::SwitchOver => set(qmp, "downtime-limit").is_ok_and(|value| value == Some(15_000)),
            Self::Judging => status(qmp).is_ok_and(|it| it.status == RunState::FinishMigrate),
        }
    }

    /// An audit that is at this moment, unless it was over before.
    fn reached(self, machine: &mut BareMachine) -> Held {
        let long = matches!(self, Self::Round | Self::Undoing);
        let arguments = if long { "--seconds 1h" } else { "--rounds 2" };
        let began = Instant::now();
        let mut audit = machine.auditing(&format!("{arguments} --rounds-per-second 20"));
        until("the moment", || {
            self.is_now(machine, began) || audit.0.try_wait().unwrap().is_some()
        });
        if self == Self::Undoing {
            audit.signal(INT);
        }
        audit
    }
}

fn say(machine: &mut BareMachine, command: &str, arguments: Value) -> Result<Value, QmpError> {
    machine.qmp.execute(command, arguments)
}

/// Whether each guest writes, over the same time.
fn write(source: &mut BareMachine, destination: &mut BareMachine) -> (bool, bool) {
    let words = |source: &mut BareMachine, destination: &mut BareMachine| {
        let last = crate::machine::WRITTEN.end - 4096;
        (source.word("pc.ram", last), destination.word("pc.ram", last))
    };
    let before = words(source, destination);
    thread::sleep(Duration::from_millis(300));
    let after = words(source, destination);
    (before.0 != after.0, before.1 != after.1)
}

/// The parameters, and the capabilities too.
fn nothing_of_ours_stays(machine: &mut BareMachine, before: &(Capabilities, [u64; 2]), what: &str) {
    until("the guardian is gone", || machine.guardians().is_empty());
    nothing_of_ours_is_set(machine, before, what);
    assert_eq!(capabilities(&mut machine.qmp).unwrap(), before.0, "{what}");
}

/// Each is what it was before, or what the operator has set.
fn nothing_of_ours_is_set(
    machine: &mut BareMachine,
    before: &(Capabilities, [u64; 2]),
    what: &str,
) {
    let (bandwidth, downtime) = values(machine);
    assert!([before.1[0], BANDWIDTH].contains(&bandwidth), "{what}: max-bandwidth {bandwidth}");
    assert!([before.1[1], DOWNTIME].contains(&downtime), "{what}: downtime-limit {downtime}");
}

fn values(machine: &mut BareMachine) -> (u64, u64) {
    let all = parameters(&mut machine.qmp).unwrap();
    let value = |name: &str| all[name].as_u64().unwrap();
    (value("max-bandwidth"), value("downtime-limit"))
}

fn settings(machine: &mut BareMachine) -> (Capabilities, [u64; 2]) {
    let (bandwidth, downtime) = values(machine);
    (capabilities(&mut machine.qmp).unwrap(), [bandwidth, downtime])
}

/// An action that leaves the guest where it is, at each moment.
fn at_each_moment(act: impl Fn(&mut BareMachine), guest: &[&str]) {
    let Some(mut machine) = BareMachine::writing("") else { return };
    let before = settings(&mut machine);
    for moment in MOMENTS {
        let mut audit = moment.reached(&mut machine);
        act(&mut machine);
        if moment == Moment::Round {
            // One that it does not disturb goes on.
            thread::sleep(Duration::from_millis(300));
            audit.signal(INT);
        }
        let code = audit.end().code();
        assert!([Some(0), Some(3), Some(11), Some(130)].contains(&code), "{moment:?}: {code:?}");
        nothing_of_ours_stays(&mut machine, &before, &format!("{moment:?}"));
        let now = status(&mut machine.qmp).unwrap().status.to_string();
        assert!(guest.contains(&&*now), "{moment:?}: {now}");
        // As it was, for the next.
        until("it runs", || {
            let _ = say(&mut machine, "cont", json!({}));
            status(&mut machine.qmp).unwrap().running
        });
        let old = json!({ "max-bandwidth": before.1[0], "downtime-limit": before.1[1] });
        say(&mut machine, "migrate-set-parameters", old).unwrap();
    }
    machine.writes();
}

#[test]
fn the_operator_cancels() {
    at_each_moment(|machine| drop(say(machine, "migrate_cancel", json!({}))), &["running"]);
}

/// QEMU lets a guest run at a migration's end that it has paused itself, whatever it was told since.
#[test]
fn the_operator_pauses() {
    at_each_moment(|machine| drop(say(machine, "stop", json!({}))), &["paused", "running"]);
}

#[test]
fn the_operator_lets_it_run() {
    at_each_moment(|machine| drop(say(machine, "cont", json!({}))), &["running"]);
}

#[test]
fn the_operator_sets_parameters() {
    let set = |machine: &mut BareMachine| {
        let theirs = json!({ "max-bandwidth": BANDWIDTH, "downtime-limit": DOWNTIME });
        say(machine, "migrate-set-parameters", theirs).unwrap();
    };
    at_each_moment(set, &["running"]);
}

#[test]
fn the_operator_ends_qemu() {
    for moment in MOMENTS {
        let Some(mut machine) = BareMachine::writing("") else { return };
        let mut audit = moment.reached(&mut machine);
        let _ = say(&mut machine, "quit", json!({}));
        let code = audit.end().code();
        assert!([Some(0), Some(3), Some(11), Some(130)].contains(&code), "{moment:?}: {code:?}");
        until("the guardian is gone", || machine.guardians().is_empty());
    }
}

/// The worst: source and destination would both run.
#[test]
fn the_operator_migrates_the_guest_away() {
    for moment in MOMENTS {
        let Some(mut source) = BareMachine::writing("") else { return };
        let incoming = format!("{WRITING} -incoming unix:arrival");
        let mut destination = BareMachine::start(PC, &incoming).unwrap();
        let before = settings(&mut source);
        let mut audit = moment.reached(&mut source);
        let went = migrated_away(&mut source, &destination);
        let (_, there) = write(&mut source, &mut destination);
        let code = audit.end().code();
        assert!([Some(0), Some(3), Some(11), Some(130)].contains(&code), "{moment:?}: {code:?}");
        until("the guardian is gone", || source.guardians().is_empty());
        let both = write(&mut source, &mut destination);
        assert_eq!(both, (!went, went), "{moment:?}: they run at the source, the destination");
        assert_eq!(there, went, "{moment:?}");
        let guest = status(&mut source.qmp).unwrap().status.to_string();
        assert_eq!(guest, if went { "postmigrate" } else { "running" }, "{moment:?}");
        if went {
            nothing_of_ours_is_set(&mut source, &before, &format!("{moment:?}"));
        } else {
            nothing_of_ours_stays(&mut source, &before, &format!("{moment:?}"));
        }
    }
}

/// As an operator does it who finds another migration under way. Whether it has completed.
fn migrated_away(source: &mut BareMachine, destination: &BareMachine) -> bool {
    let to = format!("unix:{}", destination.qemu.dir().join("arrival").display());
    let since = Instant::now();
    loop {
        assert!(since.elapsed() < Duration::from_secs(60), "it can never be migrated");
        let _ = say(source, "migrate_cancel", json!({}));
        until("no migration is under way", || {
            !migration(&mut source.qmp).unwrap().status.is_under_way()
        });
        let on = capabilities(&mut source.qmp).unwrap().into_iter().filter(|(_, on)| *on);
        let off: Capabilities = on.map(|(name, _)| (name, false)).collect();
        let theirs = json!({
            "max-bandwidth": BANDWIDTH, "downtime-limit": DOWNTIME, "avail-switchover-bandwidth": 0,
        });
        // An audit that begins at this moment is in the way once more.
        let begun = set_capabilities(&mut source.qmp, &off)
            .and_then(|()| say(source, "migrate-set-parameters", theirs))
            .and_then(|_| say(source, "migrate", json!({ "uri": to })));
        if begun.is_err() {
            continue;
        }
        until("it has ended", || !migration(&mut source.qmp).unwrap().status.is_under_way());
        return migration(&mut source.qmp).unwrap().status == MigrationStatus::Completed;
    }
}
