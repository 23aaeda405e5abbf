//! Migrations that go well, and every way in which they don't: where the guest is must be known, and it
//! must never be lost, nor run twice. The guest is a PC's firmware that finds nothing to boot.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end at what it did not expect")]

mod cable;
mod carrier;
mod cut;
mod pair;

use pair::{ARM, Pair, Stopped, X86, amid, kill, pc, pid_of, run};

use memtwin_lab::host::quoted;
use memtwin_migrate::{
    FailureReason, GuestLocation, MigrationEvent, MigrationSettings, Side, SideError, migrate,
};
use memtwin_qemu::RunState;
use memtwin_replicate::CancelToken;
use memtwin_testbed::{Need, lacks};
use std::path::Path;
use std::time::Duration;

#[test]
fn a_guest_arrives_intact_and_a_flipped_word_is_found() {
    if lacks(&[Need::Program(X86)]) {
        return;
    }
    let mut pair = Pair::new(&pc(""));
    let mut destination = pair.destination(&pc("")).unwrap();
    let settings = MigrationSettings { control: true, ..pair.settings() };
    let mut events = Vec::new();
    let moved = run(&mut pair, &mut destination, &settings, &mut |event, _, _| match event {
        MigrationEvent::Arrived => events.push("arrived"),
        MigrationEvent::Judging => events.push("judging"),
        MigrationEvent::Resumed => events.push("resumed"),
        MigrationEvent::Look(_) | MigrationEvent::Round(_) | MigrationEvent::BrokenOff => {}
    });
    assert_eq!(moved.location, GuestLocation::Destination);
    assert_eq!(events, ["arrived", "judging", "resumed"]);
    let ram = moved.ram.unwrap().unwrap();
    assert!(ram.differing.is_empty() && ram.layout.bytes() >= 64 << 20);
    let (region, page, found) = moved.control.unwrap();
    let found: Vec<_> =
        found.unwrap().differing.iter().map(|(id, at)| (*id, at.page, at.bytes)).collect();
    assert_eq!(found, [(region, page, 8)]);
    assert!(moved.resumed > moved.arrived && moved.pause > Duration::ZERO);
    assert_eq!(pair.source.state().unwrap().status, RunState::PostMigrate);
    assert!(destination.state().unwrap().running);
}

#[test]
fn a_destination_that_dies_amid_pre_copy_takes_nothing_with_it() {
    if lacks(&[Need::Program(X86)]) {
        return;
    }
    let mut pair = Pair::new(&pc(""));
    let mut destination = pair.destination(&pc("")).unwrap();
    let (settings, mut killed) = (pair.slow(), false);
    let moved = run(&mut pair, &mut destination, &settings, &mut |event, _, destination| {
        if amid(&event, &mut killed) {
            kill(destination);
        }
    });
    assert!(
        matches!(moved.location, GuestLocation::Source(FailureReason::DestinationGone(_))),
        "{moved:?}"
    );
    assert!(pair.runs_at_the_source());
}

#[test]
fn a_destination_that_dies_before_it_runs_gives_the_guest_back() {
    if lacks(&[Need::Program(X86)]) {
        return;
    }
    let mut pair = Pair::new(&pc(""));
    let mut destination = pair.destination(&pc("")).unwrap();
    let settings = pair.settings();
    let moved = run(&mut pair, &mut destination, &settings, &mut |event, source, destination| {
        if matches!(event, MigrationEvent::Arrived) {
            assert!(!source.state().unwrap().running);
            kill(destination);
        }
    });
    assert!(matches!(moved.location, GuestLocation::Source(_)), "{moved:?}");
    assert!(pair.runs_at_the_source());
}

#[test]
fn a_destination_that_hangs_before_it_runs_is_ended_and_the_guest_goes_back() {
    if lacks(&[Need::Program(X86)]) {
        return;
    }
    let mut pair = Pair::new(&pc(""));
    let mut destination = pair.destination(&pc("")).unwrap();
    destination.qmp.set_patience(Duration::from_secs(1));
    let (settings, mut stopped) = (pair.settings(), None);
    let moved = run(&mut pair, &mut destination, &settings, &mut |event, _, destination| {
        if matches!(event, MigrationEvent::Arrived) {
            stopped = Some(Stopped::new(pid_of(destination)));
        }
    });
    assert!(
        matches!(moved.location, GuestLocation::Source(FailureReason::DestinationGone(_))),
        "{moved:?}"
    );
    assert!(destination.has_surely_ended() && pair.runs_at_the_source());
}

#[test]
fn a_source_that_dies_leaves_a_destination_that_does_not_run() {
    if lacks(&[Need::Program(X86)]) {
        return;
    }
    let mut pair = Pair::new(&pc(""));
    let mut destination = pair.destination(&pc("")).unwrap();
    let (settings, mut killed) = (pair.slow(), false);
    let moved = run(&mut pair, &mut destination, &settings, &mut |event, source, _| {
        if amid(&event, &mut killed) {
            kill(source);
        }
    });
    assert!(
        matches!(moved.location, GuestLocation::Nowhere(FailureReason::SourceGone(_))),
        "{moved:?}"
    );
    assert!(!destination.state().is_ok_and(|state| state.running));
}

/// Nobody else has the guest then, and nobody can say any more whether it arrived as it was.
#[test]
fn a_source_that_dies_while_both_stand_still_leaves_the_guest_to_the_destination() {
    if lacks(&[Need::Program(X86)]) {
        return;
    }
    let mut pair = Pair::new(&pc(""));
    let mut destination = pair.destination(&pc("")).unwrap();
    let settings = MigrationSettings { control: true, ..pair.settings() };
    let moved = run(&mut pair, &mut destination, &settings, &mut |event, source, destination| {
        if matches!(event, MigrationEvent::Arrived) {
            assert_eq!(source.state().unwrap().status, RunState::PostMigrate);
            assert!(!destination.state().unwrap().running);
            kill(source);
        }
    });
    assert_eq!(moved.location, GuestLocation::Destination);
    assert!(matches!(moved.ram, Some(Err(_))) && moved.control.is_none(), "{moved:?}");
    assert!(destination.state().unwrap().running && pair.source.has_surely_ended());
}

/// As if the cable were cut: nothing is sent any more, and nothing says so.
#[test]
fn a_migration_that_sends_nothing_is_cancelled_and_the_guest_runs_on() {
    if lacks(&[Need::Program(X86)]) {
        return;
    }
    // Far more than the socket holds.
    let mut bytes = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut bytes, &vec![0xa5; 16 << 20]).unwrap();
    let line = pc(&format!(
        "-device loader,file={},addr=0x1000000,force-raw=on",
        quoted(&bytes.path().display().to_string())
    ));
    let mut pair = Pair::new(&line);
    let mut destination = pair.destination(&line).unwrap();
    destination.qmp.set_patience(Duration::from_secs(1));
    let settings = MigrationSettings { stall: Duration::from_secs(5), ..pair.slow() };
    let (mut done, mut stopped) = (false, None);
    let moved = run(&mut pair, &mut destination, &settings, &mut |event, _, destination| {
        if amid(&event, &mut done) {
            stopped = Some(Stopped::new(pid_of(destination)));
        }
    });
    drop(stopped);
    let GuestLocation::Source(why @ FailureReason::Stalled(_)) = &moved.location else {
        panic!("{moved:?}");
    };
    assert!(why.to_string().contains("is the link cut?"), "{why}");
    assert!(pair.runs_at_the_source());
}

#[test]
fn another_machine_at_the_destination_is_refused_by_qemu() {
    if lacks(&[Need::Program(X86)]) {
        return;
    }
    let mut pair = Pair::new(&pc(""));
    let mut destination = pair.destination(&format!("{X86} -M q35 -m 64 -accel tcg")).unwrap();
    let settings = pair.settings();
    let moved = run(&mut pair, &mut destination, &settings, &mut |_, _, _| {});
    let GuestLocation::Source(FailureReason::DestinationGone(said) | FailureReason::Failed(said)) =
        &moved.location
    else {
        panic!("{moved:?}");
    };
    assert!(said.to_lowercase().contains("machine type"), "{said}");
    assert!(pair.runs_at_the_source());
}

#[test]
fn another_cpu_at_the_destination_is_refused_by_qemu() {
    if lacks(&[Need::Program(ARM)]) {
        return;
    }
    let arm = |cpu: &str| format!("{ARM} -M virt,gic-version=3 -m 64 -accel tcg -cpu {cpu}");
    let mut pair = Pair::new(&arm("cortex-a72"));
    let mut destination = pair.destination(&arm("cortex-a53")).unwrap();
    let settings = pair.settings();
    let moved = run(&mut pair, &mut destination, &settings, &mut |_, _, _| {});
    assert!(
        matches!(
            moved.location,
            GuestLocation::Source(FailureReason::DestinationGone(_) | FailureReason::Failed(_))
        ),
        "{moved:?}"
    );
    assert!(pair.runs_at_the_source());
}

#[test]
fn a_destination_without_room_does_not_start() {
    if lacks(&[Need::Program(X86), Need::Program("prlimit")]) {
        return;
    }
    let mut pair = Pair::new(&pc(""));
    let refused =
        pair.destination(&format!("prlimit --as=120000000 {}", pc("-m 4096"))).unwrap_err();
    assert!(matches!(refused, SideError::Ended { .. }), "{refused}");
    assert!(pair.runs_at_the_source());
}

#[test]
fn a_destination_that_may_not_write_the_image_gives_the_guest_back() {
    if lacks(&[Need::Program(X86), Need::Program("setpriv"), Need::Root]) {
        return;
    }
    let mut pair = Pair::new(&pc(""));
    let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o777);
    std::fs::set_permissions(pair.folder.path(), mode).unwrap();
    let nobody = format!("setpriv --reuid=65534 --regid=65534 --clear-groups {}", pc(""));
    // It opens the image when it is to run the guest, and not before.
    let mut destination = pair.destination(&nobody).unwrap();
    let settings = MigrationSettings { verify_ram: true, ..pair.settings() };
    let moved = run(&mut pair, &mut destination, &settings, &mut |_, _, _| {});
    let GuestLocation::Source(why) = &moved.location else { panic!("{moved:?}") };
    assert!(why.to_string().contains("Permission denied"), "{why}");
    assert!(pair.runs_at_the_source());
}

#[test]
fn what_does_not_converge_is_given_up_and_runs_on() {
    if lacks(&[Need::Program(X86)]) {
        return;
    }
    let mut pair = Pair::new(&pc(""));
    let mut destination = pair.destination(&pc("")).unwrap();
    let settings = MigrationSettings { timeout: Duration::from_secs(2), ..pair.slow() };
    let moved = run(&mut pair, &mut destination, &settings, &mut |_, _, _| {});
    assert_eq!(moved.location, GuestLocation::Source(FailureReason::NotConverged));
    assert!(moved.ram.is_none() && pair.runs_at_the_source());
    assert!(!destination.state().is_ok_and(|state| state.running));
    let advice = moved.progress.advice(Duration::from_millis(1)).unwrap().lines();
    assert!(advice[0].contains("MB/s"), "{advice:?}");
}

#[test]
fn an_interrupt_leaves_the_guest_where_it_is() {
    if lacks(&[Need::Program(X86)]) {
        return;
    }
    let mut pair = Pair::new(&pc(""));
    let mut destination = pair.destination(&pc("")).unwrap();
    let (settings, stop, mut done) = (pair.slow(), CancelToken::default(), false);
    let mut hear = |event: MigrationEvent<'_>, _: &mut Side, _: &mut Side| {
        if amid(&event, &mut done) {
            stop.set();
        }
    };
    let moved = migrate(&mut pair.source, &mut destination, &settings, &stop, &mut hear).unwrap();
    assert_eq!(moved.location, GuestLocation::Source(FailureReason::Interrupted));
    assert!(pair.runs_at_the_source());
}

#[test]
fn a_side_that_is_dropped_is_gone() {
    if lacks(&[Need::Program(X86)]) {
        return;
    }
    let pair = Pair::new(&pc(""));
    let pid = pid_of(&pair.source);
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    drop(pair);
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
}
