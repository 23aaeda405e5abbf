//! The one runner: the order of things from the first page to the end of a replication, for every source,
//! sink and judge.
//!
//! Start, pre-copy, rounds (by a plan, or steered by a [`ReplicationController`]), the stop that is judged,
//! comparing what the stop did not wait for, finish. What a session showed becomes a case in
//! [`verdict_of`](crate::verdict_of).

use crate::controller::{ReplicationController, run_steered};
use crate::driver::GuestDriver;
use crate::judge::{Judge, JudgeWork};
use memtwin_replicate::{
    CancelToken, Observer, Replication, RoundError, RoundPlan, Sink, Source, StopReason,
};
use memtwin_report::record::PageAt;
use std::time::{Duration, Instant};

/// How a session goes.
#[derive(Clone, Copy)]
pub struct SessionPlan<'c> {
    /// The rounds, and what ends them.
    pub rounds: RoundPlan,
    /// After how long what writes in a guest of our own is told to end; the rounds go on.
    pub guest_time: Option<Duration>,
    /// Who steers the rounds, if the plan does not.
    pub controller: Option<&'c dyn ReplicationController>,
    /// When a guest of our own is judged at the end.
    pub last_stop: LastStop,
}

/// When the stop that is judged comes. Of a guest that is not ours it comes while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastStop {
    /// When what writes has ended.
    WritersEnded,
    /// While it runs, and once more when it has ended: nothing can write any more then.
    RunningThenEnded,
}

/// A guest, its twin and its judge, to be run once.
pub struct Session<'s, S, K, O, D, J> {
    /// The guest, seen through its dirty log.
    pub source: S,
    /// Where the twin goes.
    pub sink: K,
    /// Who hears of it.
    pub observer: O,
    /// How it goes.
    pub plan: SessionPlan<'s>,
    /// What is done with the guest around the rounds.
    pub guest: D,
    /// Who judges; it keeps what it has seen.
    pub judge: &'s mut J,
    /// Set when it is to end.
    pub stop: &'s CancelToken,
}

/// How a session ended.
#[derive(Debug)]
pub enum SessionEnd {
    /// At its stop, which was judged.
    Reached {
        /// What ended the rounds.
        ended: StopReason,
        /// What a controller has changed behind the log's back.
        tampered: Vec<PageAt>,
    },
    /// Before that, or when the guest was to be left as it was found.
    Broken(RoundError),
}

impl SessionEnd {
    /// What ended the rounds, if the stop was reached.
    pub fn ended(&self) -> Option<StopReason> {
        match self {
            Self::Reached { ended, .. } => Some(*ended),
            Self::Broken(_) => None,
        }
    }

    /// Why it broke off, if it did.
    pub fn broken(&self) -> Option<String> {
        match self {
            Self::Reached { .. } => None,
            Self::Broken(error) => Some(error.to_string()),
        }
    }
}

impl<S, K, O, D, J> Session<'_, S, K, O, D, J>
where
    S: Source,
    K: Sink,
    O: Observer,
    D: GuestDriver<S>,
    J: Judge<S, K>,
{
    /// Runs it. Whatever happens, the guest runs on and its log is switched off again, unless the guest is
    /// our own and has ended.
    ///
    /// Errors: it could not be started, and nothing was copied.
    pub fn run(self) -> Result<SessionEnd, RoundError> {
        let Self { source, sink, observer, plan, guest, judge, stop } = self;
        let mut replication = Replication::start(source, sink, observer)?;
        let reached = reach(&mut replication, &plan, &guest, judge, stop);
        if reached.is_ok() {
            judge.compare(&replication);
        }
        let finished = replication.finish();
        Ok(match (reached, finished) {
            (Ok((ended, tampered)), Ok(())) => SessionEnd::Reached { ended, tampered },
            (Err(error), _) | (Ok(_), Err(error)) => SessionEnd::Broken(error),
        })
    }
}

/// From pre-copy to the last stop.
fn reach<S, K, O, D, J>(
    replication: &mut Replication<S, K, O>,
    plan: &SessionPlan<'_>,
    guest: &D,
    judge: &mut J,
    stop: &CancelToken,
) -> Result<(StopReason, Vec<PageAt>), RoundError>
where
    S: Source,
    K: Sink,
    O: Observer,
    D: GuestDriver<S>,
    J: Judge<S, K>,
{
    guest.begin(replication, stop)?;
    let (ended, tampered) = match plan.controller {
        Some(controller) => {
            run_steered(replication, &plan.rounds, controller, JudgeWork(judge), stop)?
        }
        None => (run_planned(replication, plan, guest, judge, stop)?, Vec::new()),
    };
    if plan.last_stop == LastStop::RunningThenEnded {
        judge.stop(replication, stop)?;
    }
    let ends_now = ended != StopReason::GuestStopped && guest.end(replication, stop)?;
    if plan.last_stop == LastStop::WritersEnded || ends_now {
        judge.stop(replication, stop)?;
    }
    Ok((ended, tampered))
}

/// Runs the plan's rounds; when the writers' time is over, ends them and runs on.
fn run_planned<S, K, O, D, J>(
    replication: &mut Replication<S, K, O>,
    plan: &SessionPlan<'_>,
    guest: &D,
    judge: &mut J,
    stop: &CancelToken,
) -> Result<StopReason, RoundError>
where
    S: Source,
    K: Sink,
    O: Observer,
    D: GuestDriver<S>,
    J: Judge<S, K>,
{
    let all = plan.rounds;
    let began = Instant::now();
    let left = |limit: Option<Duration>| limit.map(|limit| limit.saturating_sub(began.elapsed()));
    if let Some(guest_time) = plan.guest_time {
        let time = Some(all.time.map_or(guest_time, |time| time.min(guest_time)));
        let ended = replication.run(&RoundPlan { time, ..all }, stop, JudgeWork(judge))?;
        let all_over = all.time.is_some_and(|time| began.elapsed() >= time);
        if ended != StopReason::Time || all_over {
            return Ok(ended);
        }
        guest.end(replication, stop)?;
    }
    let rounds = all.rounds.map(|most| most.saturating_sub(replication.deltas()));
    let plan = RoundPlan { rounds, time: left(all.time), ..all };
    replication.run(&plan, stop, JudgeWork(judge))
}
