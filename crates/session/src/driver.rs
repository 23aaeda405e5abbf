//! What a session does with the guest around the rounds: a guest of our own is started and ended, anybody
//! else's is never touched.

use memtwin_replicate::{
    CancelToken, GuestControl, GuestState, Observer, Replication, RoundError, Sink, Source,
};
use std::time::Duration;

/// How long to wait for the writers to hear that they are to stop; they are watched meanwhile.
const STOP_POLL: Duration = Duration::from_millis(1);

/// What a session does with the guest around the rounds.
pub trait GuestDriver<S: Source> {
    /// Before the rounds.
    ///
    /// Errors: a round's.
    fn begin<K: Sink, O: Observer>(
        &self,
        _replication: &mut Replication<S, K, O>,
        _stop: &CancelToken,
    ) -> Result<(), RoundError> {
        Ok(())
    }

    /// Tells what writes to end, for good, and waits until it has. Whether there was anything to tell.
    ///
    /// Errors: the guest died, or a stop was asked for.
    fn end<K: Sink, O: Observer>(
        &self,
        _replication: &mut Replication<S, K, O>,
        _stop: &CancelToken,
    ) -> Result<bool, RoundError> {
        Ok(false)
    }
}

/// A guest that is somebody else's: it runs as it ran before.
#[derive(Clone, Copy, Debug)]
pub struct ForeignGuest;

impl<S: Source> GuestDriver<S> for ForeignGuest {}

/// A guest of our own, whose writers begin and end with the session.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnGuest {
    /// How many pages a second they write together; `None`: as many as they can.
    pub pace: Option<u64>,
    /// Whether they begin only after pre-copy, so that the log alone can bring their pages to the twin.
    pub after_precopy: bool,
}

impl<S: Source + GuestControl> GuestDriver<S> for OwnGuest {
    fn begin<K: Sink, O: Observer>(
        &self,
        replication: &mut Replication<S, K, O>,
        stop: &CancelToken,
    ) -> Result<(), RoundError> {
        if self.after_precopy {
            replication.round(stop)?;
        }
        if self.pace.is_some() {
            replication.source_mut().pace(self.pace);
        }
        replication.source_mut().start();
        Ok(())
    }

    fn end<K: Sink, O: Observer>(
        &self,
        replication: &mut Replication<S, K, O>,
        stop: &CancelToken,
    ) -> Result<bool, RoundError> {
        replication.source_mut().pace(None);
        replication.source_mut().stop();
        while replication.guest()? == GuestState::Running {
            if stop.wait(STOP_POLL) {
                return Err(RoundError::Interrupted);
            }
        }
        Ok(true)
    }
}
