//! What died, what was lost, and what was only held up.

use super::*;
use memtwin_report::record::Verdict;

fn verdict(location: GuestLocation, pulse: Option<HeartbeatStats>) -> Case {
    let moved = MigrationOutcome {
        location,
        progress: Default::default(),
        ram: None,
        control: None,
        pause: Duration::ZERO,
        began: std::time::Instant::now(),
        arrived: None,
        resumed: None,
        looks: 1,
        doubled: 0,
    };
    let trial = CaseBuilder::new("migrate/guest", "test", &Layout::default());
    guest(trial, &[(&moved, pulse)], &GuestReport::default(), &mut Vec::new())
}

/// What died says nothing of the migration; what a migration lost does.
#[test]
fn a_guest_whose_qemu_was_killed_is_not_called_lost() {
    let said = || "terminated by signal 9".to_owned();
    for why in [FailureReason::SourceGone(said()), FailureReason::DestinationGone(said())] {
        let case = verdict(GuestLocation::Nowhere(why), None);
        assert_eq!(case.verdict(), Verdict::Inconclusive, "{case:?}");
        assert!(case.reason().unwrap().contains("terminated by signal 9"), "{case:?}");
    }
    for why in
        [FailureReason::Failed(said()), FailureReason::RamDiffers, FailureReason::Interrupted]
    {
        let case = verdict(GuestLocation::Nowhere(why), None);
        assert_eq!(case.verdict(), Verdict::Differs, "{case:?}");
    }
    // And what its heart had told before is not forgotten.
    let broken = HeartbeatStats {
        beats: 5,
        broken: Some((7, 5)),
        went_back: false,
        guest_gap: Duration::ZERO,
        silence: Duration::ZERO,
        lag: 0.0,
        wall_jump: 0.0,
    };
    let gone = GuestLocation::Nowhere(FailureReason::SourceGone(said()));
    assert_eq!(verdict(gone, Some(broken)).verdict(), Verdict::Differs);
}

#[test]
fn a_kernel_that_was_held_up_is_told_from_one_that_broke() {
    let said = |lines: &[&str]| {
        is_only_held_up(&lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>())
    };
    let stuck = "[99.1] watchdog: BUG: soft lockup - CPU#0 stuck for 27s! [dirtyram:71]";
    let stall = "[99.1] rcu: INFO: rcu_preempt self-detected stall on CPU";
    assert!(said(&[stuck, "[99.1] Call trace:"]));
    assert!(said(&[stall]));
    for broke in [
        "[99.2] Internal error: Oops: 96000004 [#1] SMP",
        "[99.2] BUG: Bad page state in process dirtyram",
        "[99.2] I/O error, dev vda, sector 8",
    ] {
        assert!(!said(&[stuck, broke]), "{broke}");
    }
    assert!(!said(&["[99.2] Call trace:"]), "of what, nobody knows");
}
