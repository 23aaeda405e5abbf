//! The cable is cut at the worst moments: in postcopy, and while the source sends its last.

use crate::cable::Cable;
use crate::pair::{Pair, X86, amid, pc, run};
use memtwin_lab::host::quoted;
use memtwin_migrate::{
    FailureReason, GuestLocation, MigrationEvent, MigrationOutcome, MigrationSettings, Side,
    migrate,
};
use memtwin_qemu::MigrationStatus;
use memtwin_replicate::CancelToken;
use memtwin_testbed::{Need, lacks};
use serde_json::{Value, json};
use std::io::Write;
use std::thread;
use std::time::Duration;

/// A guest with more in its memory than sockets and we hold.
struct Full {
    line: String,
    _bytes: tempfile::NamedTempFile,
}

impl Full {
    fn new() -> Self {
        let mut bytes = tempfile::NamedTempFile::new().unwrap();
        bytes.write_all(&vec![0xa5; 16 << 20]).unwrap();
        let file = quoted(&bytes.path().display().to_string());
        let line = pc(&format!("-device loader,file={file},addr=0x1000000,force-raw=on"));
        Self { line, _bytes: bytes }
    }
}

fn cable(pair: &Pair, settings: &mut MigrationSettings) -> Cable {
    let (from, to) = (pair.folder.path().join("near"), pair.folder.path().join("far"));
    settings.connect = format!("unix:{}", from.display());
    settings.listen = format!("unix:{}", to.display());
    Cable::new(&from, &to)
}

/// A migration that goes over to postcopy, whose cable is cut then.
fn cut_in_postcopy(cut: impl Fn(&Cable)) -> Option<(Pair, Side, MigrationOutcome, usize)> {
    if lacks(&[Need::Program(X86)]) {
        return None;
    }
    let full = Full::new();
    let mut pair = Pair::new(&full.line);
    let mut destination = pair.destination(&full.line).unwrap();
    let mut settings = MigrationSettings { stall: Duration::from_secs(3), ..pair.slow() };
    settings.capabilities.insert("postcopy-ram".to_owned(), true);
    settings.parameters.insert("max-postcopy-bandwidth".to_owned(), 2_000_000.into());
    let cable = cable(&pair, &mut settings);
    let (mut begun, mut broken, mut was_cut) = (false, 0, false);
    let moved = run(&mut pair, &mut destination, &settings, &mut |event, source, _| {
        if amid(&event, &mut begun) {
            source.qmp.execute::<Value>("migrate-start-postcopy", json!({})).unwrap();
        }
        match event {
            // Not before: QEMU takes nothing up again whose devices have not arrived.
            MigrationEvent::Look(told)
                if told.status == MigrationStatus::PostcopyActive
                    && told.ram.is_some_and(|ram| ram.transferred > 4 << 20)
                    && !was_cut =>
            {
                was_cut = true;
                cut(&cable);
            }
            MigrationEvent::BrokenOff => broken += 1,
            _ => {}
        }
    });
    assert!(was_cut, "it never went over to postcopy: {moved:?}");
    Some((pair, destination, moved, broken))
}

#[test]
fn a_postcopy_whose_cable_is_cut_is_taken_up_over_another() {
    let Some((_pair, mut destination, moved, broken)) = cut_in_postcopy(Cable::cut) else { return };
    assert_eq!((&moved.location, broken), (&GuestLocation::Destination, 1), "{moved:?}");
    assert!(destination.state().unwrap().running);
    assert!(moved.ram.unwrap().unwrap().differing.is_empty());
}

#[test]
fn a_postcopy_whose_cable_is_gone_is_given_up_and_said_to_be_lost() {
    let Some((mut pair, mut destination, moved, broken)) = cut_in_postcopy(Cable::cut_for_good)
    else {
        return;
    };
    let GuestLocation::Nowhere(why @ FailureReason::Failed(_)) = &moved.location else {
        panic!("{moved:?}")
    };
    assert!(why.to_string().contains("not taken up again in 6 s"), "{why}");
    assert_eq!(broken, 1);
    assert!(!pair.runs_at_the_source() && !destination.state().unwrap().running);
}

/// The source sends its last, with QEMU's lock held: no monitor answers, and nobody reads.
fn cut_in_the_last_pass(by_itself: bool) {
    if lacks(&[Need::Program(X86)]) {
        return;
    }
    let full = Full::new();
    let mut pair = Pair::new(&full.line);
    let still = if by_itself { "" } else { " -S" };
    let line = format!("{} -incoming defer{still}", full.line);
    let mut destination = crate::pair::start(pair.folder.path(), "destination", &line).unwrap();
    let mut settings = MigrationSettings { verify_ram: !by_itself, ..pair.slow() };
    // Slow, until QEMU sees that all of it fits into the downtime: its last pass knows no limit.
    settings.parameters.insert("downtime-limit".to_owned(), 2_000_000.into());
    settings.parameters.insert("avail-switchover-bandwidth".to_owned(), (1u64 << 40).into());
    let cable = cable(&pair, &mut settings);
    cable.cut_after(1 << 20);
    pair.source.qmp.set_patience(Duration::from_secs(2));
    let stop = CancelToken::default();
    let interrupt = thread::spawn({
        let (is_cut, stop) = (cable.is_cut(), stop.clone());
        move || {
            while !is_cut() {
                thread::sleep(Duration::from_millis(20));
            }
            // The source is stuck by then.
            thread::sleep(Duration::from_secs(1));
            stop.set();
        }
    });
    let mut last = None;
    let mut hear = |event: MigrationEvent<'_>, _: &mut Side, _: &mut Side| {
        if let MigrationEvent::Look(told) = event {
            last = Some(told.status.clone());
        }
    };
    let moved = migrate(&mut pair.source, &mut destination, &settings, &stop, &mut hear).unwrap();
    // Before it hears of the cable's end.
    assert_eq!(destination.has_surely_ended(), by_itself);
    drop(cable);
    interrupt.join().unwrap();
    assert_eq!(moved.location, GuestLocation::Source(FailureReason::Interrupted), "{last:?}");
    assert_eq!(moved.doubled, 0);
    assert!(pair.runs_at_the_source());
    assert!(!destination.state().is_ok_and(|state| state.running));
}

#[test]
fn an_interrupt_in_the_last_pass_over_a_cut_cable_leaves_the_guest_at_the_source() {
    cut_in_the_last_pass(false);
}

#[test]
fn a_destination_that_would_run_by_itself_is_ended_before_the_source_runs_again() {
    cut_in_the_last_pass(true);
}
