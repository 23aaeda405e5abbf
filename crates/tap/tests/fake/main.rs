//! A tap of what a real QEMU does not do on demand: commands refused one by one, a monitor that
//! closes at any of them, events in an odd order.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod hold;
mod server;

use memtwin_pages::RegionId;
use memtwin_qemu::HazardPolicy;
use memtwin_qmp::Qmp;
use memtwin_replicate::{CancelToken, PageReceiver, RoundKind, SinkError, Source};
use memtwin_tap::{MigrationTap, OpenError, StreamPath, TapTarget};
use serde_json::Value;
use server::{Faults, Server, State};
use std::fs;
use std::process::Command;
use std::time::Duration;

/// Nothing waits for it if all goes well.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What a tap changes with.
const CHANGES: [&str; 4] =
    ["migrate-set-capabilities", "migrate-set-parameters", "getfd", "migrate"];

/// One that listens until it is dismissed, and does nothing: what it does for a tap that died is
/// tested on a real QEMU.
fn guardian() -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "cat > /dev/null 2>&1"]);
    command
}

fn connected(faults: Faults) -> (Server, Qmp) {
    let server = Server::start(faults);
    let qmp = Qmp::connect(&server.path(), TIMEOUT).unwrap();
    (server, qmp)
}

/// The fake is in this process.
fn target(server: &Server) -> TapTarget {
    TapTarget {
        monitor: server.path().into(),
        stream: StreamPath::Descriptor,
        pid: std::process::id(),
        max_pause: TIMEOUT,
        notes: server.path().parent().unwrap().into(),
        hazards: HazardPolicy::Refuse,
    }
}

/// Opens a tap, which fails, and says how QEMU is then.
fn failed(faults: Faults) -> (OpenError, State) {
    let (server, mut qmp) = connected(faults);
    let error =
        MigrationTap::open(&mut qmp, &target(&server), &[], guardian, &CancelToken::default())
            .unwrap_err();
    drop(qmp);
    let state = std::sync::Arc::into_inner(server.done()).unwrap().into_inner().unwrap();
    (error, state)
}

fn is_as_it_was(state: &State) {
    let fresh = Server::start(Faults::default());
    let before = fresh.state.lock().unwrap();
    assert_eq!(state.capabilities, before.capabilities);
    assert_eq!(state.parameters, before.parameters);
    assert!(state.running && state.socket.is_none(), "{state:?}");
    assert!(["none", "cancelled", "failed"].contains(&state.status), "{state:?}");
}

#[test]
fn a_fake_that_refuses_nothing_is_tapped_and_left_as_it_was() {
    let (server, mut qmp) = connected(Faults::default());
    let mut tap =
        MigrationTap::open(&mut qmp, &target(&server), &[], guardian, &CancelToken::default())
            .unwrap();
    assert_eq!(tap.machine(), "none");
    {
        let state = server.state.lock().unwrap();
        assert!(state.capabilities["switchover-ack"] && !state.capabilities["xbzrle"]);
        assert_eq!(state.parameters["tls-creds"], "");
        assert_eq!(state.status, "active");
    }
    tap.close().unwrap();
    drop(tap);
    drop(qmp);
    let state = server.done();
    is_as_it_was(&state.lock().unwrap());
}

#[test]
fn whatever_is_refused_qemu_is_left_as_it_was() {
    for command in CHANGES {
        let refuse = vec![(command, 0)];
        let (error, state) = failed(Faults { refuse, ..Faults::default() });
        assert!(error.to_string().contains(&format!("no {command} today")), "{command}: {error}");
        assert_eq!(matches!(error, OpenError::Blocked { .. }), command == "migrate", "{error}");
        is_as_it_was(&state);
    }
}

#[test]
fn what_can_not_be_put_back_either_is_said_too() {
    let refuse = vec![("getfd", 0), ("migrate-set-parameters", 1)];
    let (error, state) = failed(Faults { refuse, ..Faults::default() });
    assert!(matches!(error, OpenError::AndUndo { .. }), "{error:?}");
    let said = error.to_string();
    assert!(said.contains("no getfd today"), "{said}");
    assert!(said.contains("putting back the migration settings"), "{said}");
    // What could be was.
    assert!(state.capabilities["xbzrle"] && !state.capabilities["return-path"]);
}

#[test]
fn a_monitor_that_closes_ends_it_wherever_it_is() {
    let queries = ["query-migrate", "query-migrate-capabilities", "query-status"];
    for command in queries.into_iter().chain(CHANGES) {
        let close = Some((command, 0));
        let (error, state) = failed(Faults { close, ..Faults::default() });
        let said = error.to_string();
        assert!(said.contains("closed") || said.contains("gone"), "{command}: {said}");
        assert_eq!(state.commands.last().map(String::as_str), Some(command), "it asked again");
    }
}

#[test]
fn a_migration_that_fails_before_its_first_page_says_why() {
    let fail = Some("the disk is on fire");
    let (error, state) = failed(Faults { fail, ..Faults::default() });
    assert!(matches!(&error, OpenError::Ended { .. }), "{error:?}");
    assert!(error.to_string().contains("the disk is on fire"), "{error}");
    is_as_it_was(&state);
}

#[test]
fn nothing_is_changed_without_a_guardian_or_beside_another_migration() {
    let (server, mut qmp) = connected(Faults::default());
    let stop = CancelToken::default();
    let error = MigrationTap::open(
        &mut qmp,
        &target(&server),
        &[],
        || Command::new("/no/such/guardian"),
        &stop,
    )
    .unwrap_err();
    assert!(error.to_string().contains("guardian"), "{error}");
    server.state.lock().unwrap().status = "active";
    let error = MigrationTap::open(&mut qmp, &target(&server), &[], guardian, &stop).unwrap_err();
    assert!(matches!(error, OpenError::Busy { .. }), "{error:?}");
    let notes = fs::read_dir(target(&server).notes).unwrap();
    let is_note = |name: std::ffi::OsString| name.to_string_lossy().starts_with("qemu-");
    assert!(!notes.map(|it| it.unwrap().file_name()).any(is_note), "a note stays");
    server.state.lock().unwrap().status = "none";
    drop(qmp);
    let state = server.done();
    let state = state.lock().unwrap();
    is_as_it_was(&state);
    assert!(!state.commands.iter().any(|command| CHANGES.contains(&&**command)), "{state:?}");
}

/// What the tap asks at its end.
const AT_THE_END: [(&str, usize); 3] =
    [("query-migrate", 2), ("query-status", 1), ("migrate-set-capabilities", 1)];

#[test]
fn a_monitor_that_closes_and_does_not_come_back_is_no_end_that_hangs_and_is_told() {
    for close in AT_THE_END {
        let (server, mut qmp) = connected(Faults { close: Some(close), ..Faults::default() });
        let stop = CancelToken::default();
        let mut tap = MigrationTap::open(&mut qmp, &target(&server), &[], guardian, &stop).unwrap();
        let error = tap.close().unwrap_err().to_string();
        for part in ["goes on trying", "migrate-set-capabilities", "\"max-bandwidth\":134217728"] {
            assert!(error.contains(part), "{close:?}: {error}");
        }
        drop(tap);
        drop(qmp);
        let state = server.done();
        assert_eq!(state.lock().unwrap().status, "failed", "the stream has ended it all the same");
    }
}

#[test]
fn a_monitor_s_connection_that_dies_is_made_again() {
    for close in AT_THE_END {
        let faults = Faults { close: Some(close), lives: true, ..Faults::default() };
        let (server, mut qmp) = connected(faults);
        let stop = CancelToken::default();
        let mut tap = MigrationTap::open(&mut qmp, &target(&server), &[], guardian, &stop).unwrap();
        // What is asked after all was put back may fail.
        let _ = tap.close();
        drop(tap);
        drop(qmp);
        is_as_it_was(&server.done().lock().unwrap());
    }
}

/// Longer than another migration is waited for: what the monitor's end means is known when ours has ended.
#[test]
fn a_monitor_that_dies_while_qemu_takes_its_time_is_waited_for_all_the_same() {
    let close = Some(("query-status", 1));
    let slow_end = Duration::from_secs(6);
    let faults = Faults { close, slow_end, lives: true, ..Faults::default() };
    let (server, mut qmp) = connected(faults);
    let stop = CancelToken::default();
    let mut tap = MigrationTap::open(&mut qmp, &target(&server), &[], guardian, &stop).unwrap();
    let closed = tap.close();
    if let Err(error) = &closed {
        // What is asked after all was put back may fail.
        assert!(!error.to_string().contains("somebody else's"), "{error}");
    }
    drop(tap);
    drop(qmp);
    is_as_it_was(&server.done().lock().unwrap());
}

/// Somebody else's migration, in all that a tap does at its end.
#[test]
fn a_migration_that_is_not_ours_is_left_alone() {
    let (server, mut qmp) = connected(Faults::default());
    let stop = CancelToken::default();
    let mut tap = MigrationTap::open(&mut qmp, &target(&server), &[], guardian, &stop).unwrap();
    let before = {
        let mut state = server.state.lock().unwrap();
        // Ours was cancelled, and another one began, with settings of its own but for one.
        (state.status, state.socket) = ("device", None);
        for name in ["downtime-limit", "avail-switchover-bandwidth", "mode", "tls-creds"] {
            state.parameters.insert(name.to_owned(), 777.into());
        }
        state.running = false;
        state.commands.clear();
        (state.capabilities.clone(), state.parameters.clone())
    };
    let error = tap.close().unwrap_err().to_string();
    assert!(error.contains("somebody else's") && error.contains("'device'"), "{error}");
    drop(tap);
    drop(qmp);
    let state = server.done();
    let mut state = state.lock().unwrap();
    // At our few bytes a second it would never end.
    let bandwidth = state.parameters.insert("max-bandwidth".to_owned(), 11.into());
    assert_eq!(bandwidth.unwrap(), 134_217_728);
    assert_eq!((state.capabilities.clone(), state.parameters.clone()), before);
    let acts = |command: &&String| !command.starts_with("query-");
    let acts: Vec<_> = state.commands.iter().filter(acts).collect();
    assert_eq!(acts, ["migrate-set-parameters"]);
}

/// What others set in the meantime is theirs.
#[test]
fn settings_that_somebody_else_has_made_meanwhile_stay() {
    let (server, mut qmp) = connected(Faults::default());
    let stop = CancelToken::default();
    let mut tap = MigrationTap::open(&mut qmp, &target(&server), &[], guardian, &stop).unwrap();
    {
        let mut state = server.state.lock().unwrap();
        assert_eq!(state.parameters["mode"], "normal");
        state.parameters.insert("max-bandwidth".to_owned(), 777.into());
    }
    tap.close().unwrap();
    drop(tap);
    drop(qmp);
    let state = server.done();
    let mut state = state.lock().unwrap();
    assert_eq!(
        state.parameters.insert("max-bandwidth".to_owned(), 134_217_728.into()).unwrap(),
        777
    );
    is_as_it_was(&state);
}

/// Both were killed: what they left is no setting of the owner's.
#[test]
fn what_a_killed_run_and_guardian_have_left_is_put_back_by_the_next() {
    let (server, mut qmp) = connected(Faults::default());
    let stop = CancelToken::default();
    let tap = MigrationTap::open(&mut qmp, &target(&server), &[], guardian, &stop).unwrap();
    let note = fs::read_dir(&target(&server).notes)
        .unwrap()
        .find_map(|entry| {
            let path = entry.unwrap().path();
            path.extension().is_some_and(|it| it == "json").then_some(path)
        })
        .unwrap();
    let left = fs::read_to_string(&note).unwrap();
    drop(tap);
    drop(qmp);
    assert!(!note.exists(), "a note stays");
    // As if it had not been put back.
    let second = Server::start(Faults::default());
    {
        let mut state = second.state.lock().unwrap();
        state.capabilities.insert("xbzrle".to_owned(), false);
        state.parameters.insert("max-bandwidth".to_owned(), 10.into());
        state.parameters.insert("downtime-limit".to_owned(), 1.into());
    }
    let mut qmp = Qmp::connect(&second.path(), TIMEOUT).unwrap();
    let path = target(&second).notes.join(note.file_name().unwrap());
    fs::write(path, left).unwrap();
    let mut tap = MigrationTap::open(&mut qmp, &target(&second), &[], guardian, &stop).unwrap();
    tap.close().unwrap();
    drop(tap);
    drop(qmp);
    is_as_it_was(&second.done().lock().unwrap());
    server.done();
}

/// A setting of a QEMU to come: what it does nobody can say, unless it is as QEMU has it by itself.
#[test]
fn a_setting_that_is_not_known_is_refused_if_somebody_has_set_it() {
    let set: [(&str, Value, bool); 5] = [
        ("of-tomorrow", 7.into(), false),
        ("of-tomorrow", 8.into(), true),
        ("without-a-default", 0.into(), false),
        ("without-a-default", "on".into(), true),
        ("multifd-channels", 8.into(), false),
    ];
    for (name, value, refused) in set {
        let (server, mut qmp) = connected(Faults::default());
        let stop = CancelToken::default();
        server.state.lock().unwrap().parameters.insert(name.to_owned(), value);
        let opened = MigrationTap::open(&mut qmp, &target(&server), &[], guardian, &stop);
        let said = opened.as_ref().err().map(ToString::to_string).unwrap_or_default();
        assert_eq!(said.contains(&format!("parameter {name} is set")), refused, "{name}: {said}");
        assert_eq!(opened.is_err(), refused, "{name}: {said}");
        drop(opened);
        drop(qmp);
        server.done();
    }
    let (server, mut qmp) = connected(Faults::default());
    server.state.lock().unwrap().capabilities.insert("of-tomorrow".to_owned(), true);
    let stop = CancelToken::default();
    let error = MigrationTap::open(&mut qmp, &target(&server), &[], guardian, &stop).unwrap_err();
    assert!(error.to_string().contains("capability of-tomorrow is set (on)"), "{error}");
    drop(qmp);
    let state = server.done();
    let state = state.lock().unwrap();
    assert!(!state.commands.iter().any(|command| CHANGES.contains(&&**command)), "{state:?}");
}

/// More than the queue holds, from a QEMU that answers nobody before it is taken.
#[test]
fn a_last_pass_is_taken_without_asking_anything() {
    for long_last_pass in [0, 40_000] {
        let (server, mut qmp) = connected(Faults { long_last_pass, ..Faults::default() });
        let stop = CancelToken::default();
        let mut tap = MigrationTap::open(&mut qmp, &target(&server), &[], guardian, &stop).unwrap();
        let before = tap.counters().pages;
        tap.push_source().unwrap().deliver(RoundKind::Final, &mut Nowhere, &stop).unwrap();
        assert!(tap.counters().pages - before >= long_last_pass);
        drop(tap);
        drop(qmp);
        server.done();
    }
}

/// One page less than QEMU has sent.
#[test]
fn counts_that_do_not_agree_are_no_pass() {
    let (server, mut qmp) = connected(Faults::default());
    let stop = CancelToken::default();
    let mut tap = MigrationTap::open(&mut qmp, &target(&server), &[], guardian, &stop).unwrap();
    {
        let mut state = server.state.lock().unwrap();
        state.running = false;
        state.sent += 1;
    }
    let push_source = tap.push_source().unwrap();
    let error = push_source.deliver(RoundKind::Final, &mut Nowhere, &stop).unwrap_err().to_string();
    assert!(error.contains("pages were lost between QEMU and here"), "{error}");
    drop(tap);
    drop(qmp);
    server.done();
}

/// Takes pages and keeps none.
struct Nowhere;

impl PageReceiver for Nowhere {
    fn pages(&mut self, _: RegionId, _: u64, _: &[u8]) -> Result<(), SinkError> {
        Ok(())
    }

    fn filled(&mut self, _: RegionId, _: u64, _: u8) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Whether a guest is held to have stood still that was paused before its last page came and of
/// which these events came after it.
fn stood_still(after: &[&'static str]) -> bool {
    let (server, mut qmp) = connected(Faults::default());
    let mut tap =
        MigrationTap::open(&mut qmp, &target(&server), &[], guardian, &CancelToken::default())
            .unwrap();
    {
        let mut state = server.state.lock().unwrap();
        state.running = false;
        // Somebody else had paused it before, for a moment.
        state.events = vec!["STOP", "RESUME", "STOP"];
    }
    let push_source = tap.push_source().unwrap();
    push_source.deliver(RoundKind::Final, &mut Nowhere, &CancelToken::default()).unwrap();
    tap.confirm_still().unwrap();
    server.state.lock().unwrap().events = after.to_vec();
    let confirmed = tap.confirm_still();
    if let Err(error) = &confirmed {
        assert!(error.to_string().contains("something else has let it"), "{error}");
    }
    drop(tap);
    drop(qmp);
    server.done();
    confirmed.is_ok()
}

#[test]
fn a_guest_that_ran_meanwhile_has_not_stood_still_even_if_it_was_paused_again() {
    assert!(stood_still(&[]));
    assert!(stood_still(&["MIGRATION", "RTC_CHANGE"]));
    assert!(!stood_still(&["RESUME"]));
    assert!(!stood_still(&["RESUME", "STOP"]));
    assert!(!stood_still(&["STOP", "RESUME", "RESUME", "STOP"]));
}

/// The same where a program stands between, so that events may come at any time: QEMU's state says it.
fn stood_still_by_its_state(change: impl FnOnce(&mut State)) -> bool {
    let (server, mut qmp) = connected(Faults::default());
    qmp.distrust_events();
    let stop = CancelToken::default();
    let mut tap = MigrationTap::open(&mut qmp, &target(&server), &[], guardian, &stop).unwrap();
    server.state.lock().unwrap().running = false;
    let push_source = tap.push_source().unwrap();
    push_source.deliver(RoundKind::Final, &mut Nowhere, &stop).unwrap();
    tap.confirm_still().unwrap();
    change(&mut server.state.lock().unwrap());
    let confirmed = tap.confirm_still().is_ok();
    // It runs again, when QEMU is as it was: how long it stood still is known all the same.
    server.state.lock().unwrap().status = "active";
    let _ = tap.close();
    assert!(tap.paused().is_none_or(|paused| paused.time().is_some()));
    drop(tap);
    drop(qmp);
    server.done();
    confirmed
}

#[test]
fn where_events_are_late_the_state_says_whether_a_guest_has_stood_still() {
    assert!(stood_still_by_its_state(|_| {}));
    assert!(stood_still_by_its_state(|state| state.events = vec!["STOP"]));
    assert!(stood_still_by_its_state(|state| state.events = vec!["RESUME", "STOP"]));
    // Let run and paused again: it is paused, and not by our migration.
    assert!(!stood_still_by_its_state(|state| state.status = "failed"));
    assert!(!stood_still_by_its_state(|state| state.running = true));
}
