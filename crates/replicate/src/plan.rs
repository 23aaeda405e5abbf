//! The round loop: when to go on, when to end.

use crate::{GuestState, Observer, Replication, RoundError, RoundKind, Sink, Source, Still, Stop};
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
const LOOK: Duration = Duration::from_secs(1);

/// How to run the rounds after pre-copy.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How long to sleep between rounds.
    pub interval: Duration,
    /// What ends the loop.
    pub until: Until,
    /// At most so many rounds after pre-copy.
    pub rounds: Option<u32>,
    /// At most so long, pre-copy included.
    pub time: Option<Duration>,
    /// Stand still for the judge after every so many rounds.
    pub still_every: Option<u32>,
}

/// Why the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The log was clean, as [`Until::Clean`] asked for.
    Clean,
    /// The guest had ended by itself, and the log was clean after that.
    GuestStopped,
    /// The plan's number of rounds is over.
    Rounds,
    /// The plan's time is over.
    Time,
}

impl<S: Source, K: Sink, O: Observer> Replication<S, K, O> {
    /// Runs rounds, pre-copy first, until the plan says to end. The guest runs on afterwards.
    ///
    /// `judge` is called at each intermediate stop (`still_every`), while the guest stands still.
    /// Errors: a round's; what was collected stays on the backlog.
    pub fn run(
        &mut self,
        plan: &Plan,
        stop: &Stop,
        mut judge: impl FnMut(&mut Still<'_, S, K, O>),
    ) -> Result<Ended, RoundError> {
        let began = Instant::now();
        let (mut deltas, mut was_dirty) = (0u32, false);
        loop {
            // Asked before the log: a guest that has ended by now has nothing left to log later.
            let guest = self.guest()?;
            let round = self.round(stop)?;
            if round.kind != RoundKind::PreCopy {
                deltas += 1;
                let clean = round.dirty_pages == 0;
                was_dirty |= !clean;
                if clean && guest == GuestState::Stopped {
                    return Ok(Ended::GuestStopped);
                }
                if clean && was_dirty && plan.until == Until::Clean {
                    return Ok(Ended::Clean);
                }
            }
            if plan.rounds.is_some_and(|most| deltas >= most) {
                return Ok(Ended::Rounds);
            }
            if plan.still_every.is_some_and(|every| deltas > 0 && deltas.is_multiple_of(every)) {
                let mut still = self.stand_still(stop)?;
                judge(&mut still);
                still.release()?;
            }
            let left = plan.time.map(|time| time.saturating_sub(began.elapsed()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Ended::Time);
            }
            self.nap(left.map_or(plan.interval, |left| left.min(plan.interval)), stop)?;
        }
    }

    /// Sleeps, and looks whether the guest is still there.
    fn nap(&mut self, time: Duration, stop: &Stop) -> Result<(), RoundError> {
        let mut left = time;
        loop {
            let piece = left.min(LOOK);
            if stop.wait(piece) {
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
