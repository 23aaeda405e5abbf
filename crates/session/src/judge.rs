//! Who judges a session, and when: what is read while the guest is paused, and what is compared when it runs
//! again.
//!
//! A guest of our own is judged where it stands ([`InPlaceJudge`]). One that is somebody's is paused only
//! while its memory is read, and judged when it runs again: a tap with the twin in memory ([`CapturedJudge`]),
//! or one whose twin is anywhere ([`BufferedJudge`]).

mod buffered;
mod captured;
mod in_place;

use memtwin_replicate::{
    CancelToken, Observer, PausedGuest, Replication, RoundError, Sink, Source,
};

pub(crate) use buffered::BufferedJudge;
pub(crate) use captured::{CapturedJudge, StopTiming};
pub use in_place::InPlaceJudge;

/// A way to judge a session. It keeps what it has seen; a loss once seen stays.
pub trait Judge<S: Source, K: Sink> {
    /// Looks while the guest is paused between two rounds, where the plan has such stops.
    fn look<O: Observer>(&mut self, _paused: &mut PausedGuest<'_, S, K, O>) {}

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
