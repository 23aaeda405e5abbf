//! The round loop: when to go on, when to end.

use crate::{
    CancelToken, GuestState, Observer, PausedGuest, Replication, Round, RoundError, RoundKind,
    Sink, Source,
};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// What ends the loop, besides the guest's own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Only a limit of the plan.
    Told,
    /// A collection without a dirty page, after at least one with.
    Clean,
}

/// How long a guest that has died may go unnoticed between two rounds.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How to run the rounds after pre-copy.
#[derive(Clone, Copy, Debug)]
pub struct RoundPlan {
    /// How long to sleep between rounds.
    pub interval: Duration,
    /// What ends the loop.
    pub until: Until,
    /// At most this many rounds after pre-copy.
    pub rounds: Option<u32>,
    /// At most so long, pre-copy included.
    pub time: Option<Duration>,
    /// Stand still for the judge after every this many rounds.
    pub still_every: Option<u32>,
}

/// Why the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The log was clean, as [`Until::Clean`] asked for.
    Clean,
    /// The guest had ended by itself, and the log was clean after that.
    GuestStopped,
    /// The plan's number of rounds is over.
    Rounds,
    /// The plan's time is over.
    Time,
}

/// Decides after each round whether there is another, and when.
pub trait RoundPolicy {
    /// Called before the log is collected: what had been written by then is in this round.
    fn before_round(&mut self) {}

    /// Called with each committed round, and with the guest's state before it: whether the loop ends.
    fn after_round(&mut self, round: &Round, guest: GuestState) -> Option<StopReason>;

    /// Whether the guest is paused for a judge after this round.
    fn is_stop_due(&self) -> bool {
        false
    }

    /// How long to sleep until the next round, or why there is none.
    fn wait(&self) -> ControlFlow<StopReason, Duration>;
}

/// What is done around the rounds, beside copying.
pub trait RoundWork<S: Source, K: Sink, O: Observer> {
    /// At each stop that the policy asks for, while the guest is paused.
    fn paused(&mut self, _paused: &mut PausedGuest<'_, S, K, O>) {}

    /// After each committed round, while the guest runs.
    ///
    /// Errors: the rounds end.
    fn after_round(&mut self, _replication: &mut Replication<S, K, O>) -> Result<(), RoundError> {
        Ok(())
    }

    /// In a rest between two rounds, of which so much time is left at least. Returns by then.
    ///
    /// Errors: the rounds end.
    fn rest(
        &mut self,
        _replication: &mut Replication<S, K, O>,
        _time: Duration,
        _stop: &CancelToken,
    ) -> Result<(), RoundError> {
        Ok(())
    }
}

/// Nothing is done beside copying.
#[derive(Clone, Copy, Debug)]
pub struct NoWork;

impl<S: Source, K: Sink, O: Observer> RoundWork<S, K, O> for NoWork {}

/// The rounds of a [`RoundPlan`].
struct PlannedRounds<'p> {
    plan: &'p RoundPlan,
    began: Instant,
    deltas: u32,
    was_dirty: bool,
}

impl<'p> PlannedRounds<'p> {
    fn new(plan: &'p RoundPlan) -> Self {
        Self { plan, began: Instant::now(), deltas: 0, was_dirty: false }
    }
}

impl RoundPolicy for PlannedRounds<'_> {
    fn after_round(&mut self, round: &Round, guest: GuestState) -> Option<StopReason> {
        let Self { plan, .. } = self;
        if round.kind != RoundKind::PreCopy {
            self.deltas += 1;
            let clean = round.dirty_pages == 0;
            self.was_dirty |= !clean;
            if clean && guest == GuestState::Stopped {
                return Some(StopReason::GuestStopped);
            }
            if clean && self.was_dirty && plan.until == Until::Clean {
                return Some(StopReason::Clean);
            }
        }
        plan.rounds.is_some_and(|most| self.deltas >= most).then_some(StopReason::Rounds)
    }

    fn is_stop_due(&self) -> bool {
        let due = |every| self.deltas > 0 && self.deltas.is_multiple_of(every);
        self.plan.still_every.is_some_and(due)
    }

    fn wait(&self) -> ControlFlow<StopReason, Duration> {
        let left = self.plan.time.map(|time| time.saturating_sub(self.began.elapsed()));
        match left {
            Some(Duration::ZERO) => ControlFlow::Break(StopReason::Time),
            left => ControlFlow::Continue(
                left.map_or(self.plan.interval, |left| left.min(self.plan.interval)),
            ),
        }
    }
}

impl<S: Source, K: Sink, O: Observer> Replication<S, K, O> {
    /// Runs rounds, pre-copy first, until the plan says to end. The guest runs on afterwards.
    ///
    /// `work` is asked at each intermediate stop (`still_every`), after each round and between two.
    ///
    /// Errors: a round's; what was collected stays on the backlog. Or the work's.
    pub fn run(
        &mut self,
        plan: &RoundPlan,
        stop: &CancelToken,
        work: impl RoundWork<S, K, O>,
    ) -> Result<StopReason, RoundError> {
        self.run_rounds(&mut PlannedRounds::new(plan), stop, work)
    }

    /// Runs rounds, pre-copy first, until the policy says to end. The guest runs on afterwards.
    ///
    /// `work` is asked at each stop that the policy asks for, after each round and between two.
    ///
    /// Errors: a round's; what was collected stays on the backlog. Or the work's.
    pub fn run_rounds(
        &mut self,
        policy: &mut impl RoundPolicy,
        stop: &CancelToken,
        mut work: impl RoundWork<S, K, O>,
    ) -> Result<StopReason, RoundError> {
        loop {
            // Asked before the log: a guest that has ended by now has nothing left to log later.
            policy.before_round();
            let guest = self.guest()?;
            let round = self.round(stop)?;
            work.after_round(self)?;
            if let Some(ended) = policy.after_round(&round, guest) {
                return Ok(ended);
            }
            if policy.is_stop_due() {
                let mut still = self.pause_and_settle(stop)?;
                work.paused(&mut still);
                still.release()?;
            }
            match policy.wait() {
                ControlFlow::Break(ended) => return Ok(ended),
                ControlFlow::Continue(time) => self.rest(time, &mut work, stop)?,
            }
        }
    }

    /// Rests, with what work there is, and looks whether the guest is still there.
    fn rest(
        &mut self,
        time: Duration,
        work: &mut impl RoundWork<S, K, O>,
        stop: &CancelToken,
    ) -> Result<(), RoundError> {
        let mut left = time;
        loop {
            let piece = left.min(POLL_INTERVAL);
            let began = Instant::now();
            work.rest(self, piece, stop)?;
            if stop.wait(piece.saturating_sub(began.elapsed())) {
                return Err(RoundError::Interrupted);
            }
            left -= piece;
            if left.is_zero() {
                return Ok(());
            }
            self.guest()?;
        }
    }
}
