//! What holds of every session, whatever its source and its sink.

use crate::rigged::RiggedGuest;
use crate::runs::{Run, TestedGuest};
use crate::twins::TwinKind;
use memtwin_report::record::Verdict;
use memtwin_session::LastStop;
use memtwin_twin::Injector;

/// How many pages are kept from the log.
const INJECTED: u64 = 2;

/// An expectation of a source, which is made again each time, and a sink.
pub(crate) type Expectation<G> = fn(make: fn() -> G, twin: TwinKind);

/// All of them, by name.
pub(crate) fn expectations<G: TestedGuest>() -> [(&'static str, Expectation<G>); 6] {
    [
        ("an_honest_log_is_identical", an_honest_log_is_identical),
        ("a_lost_page_is_found", a_lost_page_is_found),
        ("a_control_finds_what_was_suppressed", a_control_finds_what_was_suppressed),
        ("an_interrupted_run_is_inconclusive", an_interrupted_run_is_inconclusive),
        ("a_guest_that_ran_while_it_was_compared_has_no_verdict", a_guest_that_ran_has_no_verdict),
        ("a_twin_that_fails_is_no_pass", a_twin_that_fails_is_no_pass),
    ]
}

const BOTH_STOPS: [LastStop; 2] = [LastStop::WritersEnded, LastStop::RunningThenEnded];

fn injected<G: TestedGuest>(guest: G) -> Injector<G> {
    Injector::new(guest, INJECTED, 7)
}

fn an_honest_log_is_identical<G: TestedGuest>(make: fn() -> G, twin: TwinKind) {
    for last_stop in BOTH_STOPS {
        let done = Run { last_stop, ..Run::default() }.on(make(), twin);
        let case = &done.case;
        assert!(case.dirty_pages() > 0, "the guest was not seen to write");
        if twin == TwinKind::Discard {
            assert_eq!((case.verdict(), case.passed()), (Verdict::Skipped, false));
            continue;
        }
        assert_eq!((case.verdict(), case.reason()), (Verdict::Identical, None));
        assert!(case.passed() && case.digest().values().all(|both| both.agree()));
        assert_eq!(done.kept, twin.expects(true));
    }
}

/// The judge is not told that there is anything to find.
fn a_lost_page_is_found<G: TestedGuest>(make: fn() -> G, twin: TwinKind) {
    for last_stop in BOTH_STOPS {
        let done = Run { last_stop, ..Run::default() }.on(injected(make()), twin);
        assert!(!done.case.passed());
        if twin == TwinKind::Discard {
            assert_eq!(done.case.verdict(), Verdict::Skipped);
            continue;
        }
        assert_eq!(done.case.verdict(), Verdict::Differs, "{:?}", done.case.reason());
        assert_eq!(done.case.lost().len() as u64, INJECTED);
        assert_eq!(done.kept, twin.expects(false), "a twin with a lost page was kept as complete");
    }
}

fn a_control_finds_what_was_suppressed<G: TestedGuest>(make: fn() -> G, twin: TwinKind) {
    let run = Run { is_control: true, ..Run::default() };
    let done = run.on(injected(make()), twin);
    if twin == TwinKind::Discard {
        assert!(!done.case.passed());
        return;
    }
    let control = done.case.control().unwrap();
    assert_eq!(control.injected.len() as u64, INJECTED);
    assert!(done.case.passed(), "{control:?}");
    // A control that suppresses nothing proves nothing.
    let done = Run { is_control: true, ..Run::default() }.on(make(), twin);
    assert!(!done.case.passed());
}

fn an_interrupted_run_is_inconclusive<G: TestedGuest>(make: fn() -> G, twin: TwinKind) {
    let run = Run { interrupt_after: Some(3), ..Run::default() };
    let done = run.on(make(), twin);
    assert_eq!(
        (done.case.verdict(), done.case.reason()),
        (Verdict::Inconclusive, Some("interrupted"))
    );
    assert_eq!(done.kept, twin.expects(false));
}

/// What was read of a guest that ran counts for nothing, neither for a pass nor for a loss.
fn a_guest_that_ran_has_no_verdict<G: TestedGuest>(make: fn() -> G, twin: TwinKind) {
    for last_stop in BOTH_STOPS {
        let run = Run { last_stop, ..Run::default() };
        let done = run.on(injected(RiggedGuest::that_runs(make())), twin);
        assert_eq!(done.case.verdict(), Verdict::Inconclusive);
        assert!(done.case.reason().unwrap().contains("it ran"), "{:?}", done.case.reason());
        assert_eq!(done.case.lost(), []);
        assert_eq!(done.kept, twin.expects(false));
    }
}

fn a_twin_that_fails_is_no_pass<G: TestedGuest>(make: fn() -> G, twin: TwinKind) {
    let run = Run { fail_round: Some(2), ..Run::default() };
    let done = run.on(make(), twin);
    assert_eq!(done.case.verdict(), Verdict::Inconclusive);
    assert!(done.case.reason().unwrap().contains("no room left"), "{:?}", done.case.reason());
    assert_eq!(done.kept, twin.expects(false));
}
