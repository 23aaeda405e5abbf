//! Who judges a session, and when: what is read while the guest is paused, and what is compared when it runs
//! again.
//!
//! A guest of our own is judged where it stands ([`InPlaceJudge`]). One that is somebody's is paused only
//! while its memory is read, and judged when it runs again: a tap with the twin in memory ([`CapturedJudge`]),
//! or one whose twin is anywhere ([`BufferedJudge`]).

mod buffered;
mod captured;
mod in_place;
mod running;

use memtwin_replicate::{
    CancelToken, Observer, PausedGuest, Replication, RoundError, RoundWork, Sink, Source,
};
use std::time::Duration;

pub(crate) use buffered::BufferedJudge;
pub(crate) use captured::{CapturedJudge, StopTiming};
pub use in_place::InPlaceJudge;
pub use running::RunningPlan;
pub(crate) use running::{RunningJudge, Swept, SweptRegion};

/// A way to judge a session. It keeps what it has seen; a loss once seen stays.
pub trait Judge<S: Source, K: Sink> {
    /// Looks while the guest is paused between two rounds, where the plan has such stops.
    fn look<O: Observer>(&mut self, _paused: &mut PausedGuest<'_, S, K, O>) {}

    /// After each round, while the guest runs.
    ///
    /// Errors: the rounds end, and there is nothing to judge.
    fn after_round<O: Observer>(
        &mut self,
        _replication: &mut Replication<S, K, O>,
    ) -> Result<(), RoundError> {
        Ok(())
    }

    /// In a rest between two rounds, while the guest runs; returns within `time`.
    ///
    /// Errors: the rounds end, and there is nothing to judge.
    fn rest<O: Observer>(
        &mut self,
        _replication: &mut Replication<S, K, O>,
        _time: Duration,
        _stop: &CancelToken,
    ) -> Result<(), RoundError> {
        Ok(())
    }

    /// Pauses the guest, takes what a verdict needs, and lets it run on.
    ///
    /// Errors: the stop was not reached, so that there is nothing to judge.
    fn stop<O: Observer>(
        &mut self,
        replication: &mut Replication<S, K, O>,
        stop: &CancelToken,
    ) -> Result<(), RoundError>;

    /// Compares what the stop did not wait for; the guest runs, and its log is still on.
    fn compare<O: Observer>(&mut self, _replication: &Replication<S, K, O>) {}
}

/// A judge's part in the rounds.
pub(crate) struct JudgeWork<'j, J>(pub(crate) &'j mut J);

impl<S: Source, K: Sink, O: Observer, J: Judge<S, K>> RoundWork<S, K, O> for JudgeWork<'_, J> {
    fn paused(&mut self, paused: &mut PausedGuest<'_, S, K, O>) {
        self.0.look(paused);
    }

    fn after_round(&mut self, replication: &mut Replication<S, K, O>) -> Result<(), RoundError> {
        self.0.after_round(replication)
    }

    fn rest(
        &mut self,
        replication: &mut Replication<S, K, O>,
        time: Duration,
        stop: &CancelToken,
    ) -> Result<(), RoundError> {
        self.0.rest(replication, time, stop)
    }
}

/// Nobody judges: the guest is never paused, and there is no verdict.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unjudged;

impl<S: Source, K: Sink> Judge<S, K> for Unjudged {
    fn stop<O: Observer>(
        &mut self,
        _replication: &mut Replication<S, K, O>,
        _stop: &CancelToken,
    ) -> Result<(), RoundError> {
        Ok(())
    }
}
