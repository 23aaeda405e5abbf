//! A replication that somebody steers who knows more of the guest than its log: when the program has
//! ended whose memory is replicated, and, for a control, what was changed behind the log's back.

use memtwin_pages::Layout;
use memtwin_replicate::{
    CancelToken, GuestState, Observer, Replication, Round, RoundError, RoundKind, RoundPlan,
    RoundPolicy, RoundWork, Sink, Source, SourceError, StopReason,
};
use memtwin_report::record::PageAt;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Steers a replication from outside.
pub trait ReplicationController: Sync {
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

/// Runs rounds, pre-copy first, until the log is clean and was asked after the program's end, or the plan's
/// time is over since then. Returns what a control has changed.
///
/// Errors: a round's; or, of a control, the log was never clean or the memory can't be changed.
pub(crate) fn run_steered<S: Source, K: Sink, O: Observer>(
    replication: &mut Replication<S, K, O>,
    plan: &RoundPlan,
    controller: &dyn ReplicationController,
    work: impl RoundWork<S, K, O>,
    stop: &CancelToken,
) -> Result<(StopReason, Vec<PageAt>), RoundError> {
    let mut steered = SteeredRounds { plan, controller, over_since: None };
    let ended = replication.run_rounds(&mut steered, stop, work)?;
    let injected = match (controller.is_control(), ended) {
        (false, _) => Vec::new(),
        (true, StopReason::Clean) => {
            let layout = replication.layout().clone();
            controller.tamper(&layout).map_err(|error| SourceError::Memory(error.into()))?
        }
        // A page that is still to come would bring the change with it.
        (true, StopReason::Time | StopReason::Rounds | StopReason::GuestStopped) => {
            let never = "was never clean, so nothing could be changed behind its back";
            return Err(SourceError::Log(never.into()).into());
        }
    };
    Ok((ended, injected))
}

/// Rounds that end only after the program has.
struct SteeredRounds<'c> {
    plan: &'c RoundPlan,
    controller: &'c dyn ReplicationController,
    over_since: Option<Instant>,
}

impl RoundPolicy for SteeredRounds<'_> {
    fn before_round(&mut self) {
        // Asked before the log, which then has all that the program has written.
        if self.controller.is_over() {
            self.over_since.get_or_insert_with(Instant::now);
        }
    }

    fn after_round(&mut self, round: &Round, _guest: GuestState) -> Option<StopReason> {
        let since = self.over_since?;
        if round.kind != RoundKind::PreCopy && round.dirty_pages == 0 {
            return Some(StopReason::Clean);
        }
        self.plan.time.is_some_and(|time| since.elapsed() >= time).then_some(StopReason::Time)
    }

    fn wait(&self) -> ControlFlow<StopReason, Duration> {
        ControlFlow::Continue(self.plan.interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_pages::{Gpa, PageSize, Region, RegionId};
    use memtwin_replicate::{Collector, NoWork, Until};
    use memtwin_twin::MemoryTwin;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A guest whose log is always clean, or never.
    struct Guest<'g> {
        layout: Layout,
        clean: bool,
        asked: &'g AtomicU32,
    }

    impl Source for Guest<'_> {
        fn layout(&self) -> &Layout {
            &self.layout
        }

        fn start_logging(&mut self) -> Result<(), SourceError> {
            Ok(())
        }

        fn collect(&mut self, into: &mut dyn Collector) -> Result<(), SourceError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            if !self.clean {
                into.page(RegionId(0), 0);
            }
            Ok(())
        }

        fn read(&mut self, _: RegionId, _: u64, _: &mut [u8]) -> Result<(), SourceError> {
            Ok(())
        }

        fn pause(&mut self) -> Result<(), SourceError> {
            Ok(())
        }

        fn confirm_paused(&mut self) -> Result<(), SourceError> {
            Ok(())
        }

        fn resume(&mut self) -> Result<(), SourceError> {
            Ok(())
        }

        fn stop_logging(&mut self) -> Result<(), SourceError> {
            Ok(())
        }

        fn guest(&mut self) -> Result<GuestState, SourceError> {
            Ok(GuestState::Running)
        }
    }

    /// A program that ends once the log was asked this often.
    struct Program<'g> {
        asked: &'g AtomicU32,
        most: u32,
        control: bool,
    }

    impl ReplicationController for Program<'_> {
        fn is_over(&self) -> bool {
            self.asked.load(Ordering::Relaxed) >= self.most
        }

        fn is_control(&self) -> bool {
            self.control
        }

        fn tamper(&self, layout: &Layout) -> Result<Vec<PageAt>, String> {
            let region = layout.region(RegionId(0));
            Ok(vec![PageAt::of(region, 1)])
        }
    }

    fn ended(clean: bool, control: bool) -> (Result<(StopReason, Vec<PageAt>), RoundError>, u32) {
        let size = PageSize::new(512).unwrap();
        let layout = Layout::new(vec![Region::new("ram", Gpa(0), 1024, size).unwrap()]);
        let asked = AtomicU32::new(0);
        let guest = Guest { layout, clean, asked: &asked };
        let mut replication = Replication::start(guest, MemoryTwin::new(), ()).unwrap();
        let plan = RoundPlan {
            interval: Duration::ZERO,
            until: Until::Clean,
            rounds: None,
            time: Some(Duration::ZERO),
            still_every: None,
        };
        let program = Program { asked: &asked, most: 5, control };
        let ended = run_steered(&mut replication, &plan, &program, NoWork, &CancelToken::default());
        (ended, asked.load(Ordering::Relaxed))
    }

    #[test]
    fn a_log_that_is_clean_while_the_program_runs_ends_nothing() {
        let (ended, asked) = ended(true, false);
        assert_eq!(ended.unwrap(), (StopReason::Clean, Vec::new()));
        assert_eq!(asked, 6, "it was not asked after the program's end");
    }

    #[test]
    fn time_counts_from_the_programs_end() {
        let (result, asked) = ended(false, false);
        assert_eq!((result.unwrap().0, asked), (StopReason::Time, 6));
    }

    #[test]
    fn a_control_changes_nothing_before_the_log_is_clean() {
        assert_eq!(ended(true, true).0.unwrap().1.len(), 1);
        let never = ended(false, true).0.unwrap_err().to_string();
        assert!(never.contains("was never clean"), "{never}");
    }
}
