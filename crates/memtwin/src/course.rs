//! A replication that somebody steers who knows more of the guest than its log: when the program has
//! ended whose memory is replicated, and, for a control, what was changed behind the log's back.

use memtwin_pages::Layout;
use memtwin_replicate::{
    Ended, Observer, Plan, Replication, RoundError, RoundKind, Sink, Source, SourceError, Stop,
};
use memtwin_report::record::PageAt;
use std::time::Instant;

/// Who steers.
pub(crate) trait Course: Sync {
    /// Whether the program has ended. A clean log ends the rounds only after that.
    fn is_over(&self) -> bool;

    /// Whether this is a control.
    fn is_control(&self) -> bool;

    /// For a control: changes the guest's memory where the log can't see it, and names the pages.
    /// The guest runs, and writes them no more.
    ///
    /// Errors: why it could not.
    fn tamper(&self, layout: &Layout) -> Result<Vec<PageAt>, String>;
}

/// Runs rounds, pre-copy first, until the log is clean and has been asked after the program's end,
/// or the plan's time is over since then. Returns what a control has changed.
///
/// Errors: a round's.
pub(crate) fn run<S: Source, K: Sink, O: Observer>(
    replication: &mut Replication<S, K, O>,
    plan: &Plan,
    course: &dyn Course,
    stop: &Stop,
) -> Result<(Ended, Vec<PageAt>), RoundError> {
    let mut over_since = None;
    let ended = loop {
        // Asked before the log, which then has all that the program has written.
        if course.is_over() {
            over_since.get_or_insert_with(Instant::now);
        }
        replication.guest()?;
        let round = replication.round(stop)?;
        let clean = round.kind != RoundKind::PreCopy && round.dirty_pages == 0;
        match over_since {
            Some(_) if clean => break Ended::Clean,
            Some(since) if plan.time.is_some_and(|time| since.elapsed() >= time) => {
                break Ended::Time;
            }
            _ => {}
        }
        if stop.wait(plan.interval) {
            return Err(RoundError::Interrupted);
        }
    };
    let injected = match (course.is_control(), ended) {
        (false, _) => Vec::new(),
        (true, Ended::Clean) => {
            let layout = replication.layout().clone();
            course.tamper(&layout).map_err(|error| SourceError::Memory(error.into()))?
        }
        // A page that is still to come would bring the change with it.
        (true, _) => {
            let never = "was never clean, so nothing could be changed behind its back";
            return Err(SourceError::Log(never.into()).into());
        }
    };
    Ok((ended, injected))
}
