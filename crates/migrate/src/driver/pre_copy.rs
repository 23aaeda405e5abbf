//! Pre-copy, round by round, and postcopy where it goes over to that: until everything was sent, or it is
//! given up.

use super::give_up::DestinationState;
use super::outcome::FailureReason;
use super::phase::{LoadState, MigrationPhase, Runner, SourceState};
use super::postcopy::BrokenPostcopy;
use super::stall::StallDetector;
use super::{Exit, MigrationDriver, MigrationEvent, POLL_INTERVAL, SETTLE_TIMEOUT, ask};
use memtwin_qemu::migration;
use memtwin_qmp::QmpError;
use memtwin_wait::Deadline;
use serde_json::json;
use std::time::{Duration, Instant};

impl MigrationDriver<'_> {
    /// Follows it until everything was sent.
    pub(super) fn pre_copy(&mut self) -> Result<(), Exit> {
        let mut cancelled: Option<FailureReason> = None;
        let mut postcopy = self.settings.postcopy;
        let (mut stall, mut broken) = (StallDetector::default(), BrokenPostcopy::default());
        loop {
            let seen = match migration(&mut self.source.qmp) {
                Ok(seen) => seen,
                // It may wait for its disk, and will go on.
                Err(error @ QmpError::Timeout { .. }) if !self.source.is_cut_off() => {
                    if self.is_long_over() || self.stop.is_set() {
                        return Err(Exit::SourceSilent(error));
                    }
                    continue;
                }
                Err(error) => return self.without_source(&error),
            };
            let status = seen.status.clone();
            let silent = stall.see(Instant::now(), &seen);
            self.tell(MigrationEvent::Look(&seen));
            if let Some(round) = self.outcome.progress.see(Instant::now(), seen) {
                self.tell(MigrationEvent::Round(&round));
                if std::mem::take(&mut postcopy) {
                    // Refused where the capability is not set: then it stays pre-copy.
                    let _ = ask(&mut self.source.qmp, "migrate-start-postcopy", json!({}));
                }
            }
            self.look();
            match SourceState::of(&status) {
                SourceState::Completed => return Ok(()),
                SourceState::Cancelled => {
                    let somebody = || FailureReason::Failed("somebody cancelled it".to_owned());
                    return Err(Exit::GivenUp(cancelled.unwrap_or_else(somebody)));
                }
                SourceState::Failed => return Err(self.failed(cancelled)),
                SourceState::UnderWay(phase) => self.enter(phase),
            }
            if self.phase == MigrationPhase::Postcopy {
                // Its memory is on both sides: to cancel it now would lose the guest.
                self.tend_postcopy(&status, silent, &mut broken)?;
                if broken.is_new() {
                    self.tell(MigrationEvent::BrokenOff);
                }
            } else if let Some(why) = &cancelled {
                if self.is_long_over() {
                    return Err(Exit::GivenUp(why.clone()));
                }
            } else if let Some(why) = self.enough(silent) {
                cancelled = self.cancel()?.then_some(why);
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Why it is to be cancelled, if it is.
    fn enough(&self, silent: Duration) -> Option<FailureReason> {
        match () {
            () if self.stop.is_set() => Some(FailureReason::Interrupted),
            () if silent >= self.settings.stall => Some(FailureReason::Stalled(silent)),
            () if self.outcome.began.elapsed() >= self.settings.timeout => {
                Some(FailureReason::NotConverged)
            }
            () => None,
        }
    }

    /// Has the source cancel it, if the destination can't run the guest. Whether it was told to.
    fn cancel(&mut self) -> Result<bool, Exit> {
        let safe = match (self.stop_destination(), self.may_run()) {
            (DestinationState::Runs, _) => return Err(Exit::SourceUnaware),
            (DestinationState::Never, _) => true,
            // What has not all of it can't run it, whether it says so or not.
            (DestinationState::Unknown, Runner::Source | Runner::Neither) => true,
            (DestinationState::Unknown, Runner::OneOfThem | Runner::Destination) => false,
        };
        if safe {
            // It may have completed just now, which the next look finds.
            let _ = ask(&mut self.source.qmp, "migrate_cancel", json!({}));
        }
        Ok(safe)
    }

    /// The source says that it failed, and why.
    fn failed(&mut self, cancelled: Option<FailureReason>) -> Exit {
        // It has not heard that the guest has arrived.
        if self.destination.state().is_ok_and(|state| state.running) {
            return Exit::SourceUnaware;
        }
        if let Some(why) = cancelled {
            return Exit::GivenUp(why);
        }
        let said = self.outcome.progress.last.error_desc.clone().unwrap_or_default();
        // The destination says why by ending, in its own words.
        std::thread::sleep(POLL_INTERVAL * 2);
        if self.destination.has_surely_ended() {
            let own = self.destination.said();
            let why = if own.is_empty() { said } else { own };
            return Exit::GivenUp(FailureReason::DestinationGone(why));
        }
        let why = if said.is_empty() { "QEMU does not say why".to_owned() } else { said };
        Exit::GivenUp(FailureReason::Failed(why))
    }

    /// The source does not answer any more. A destination that has everything has the guest, and may go
    /// on with it once the source has surely ended; any other has nothing.
    fn without_source(&mut self, error: &QmpError) -> Result<(), Exit> {
        let said = self.source.said();
        let why = FailureReason::SourceGone(if said.is_empty() { error.to_string() } else { said });
        let deadline = Deadline::after(SETTLE_TIMEOUT / 4);
        while !deadline.is_over() {
            let state = self.destination.state().map(|state| LoadState::of(&state));
            match state {
                Ok(LoadState::Running) => {
                    self.outcome.resumed = Some(Instant::now());
                    return Err(Exit::DestinationAlone);
                }
                // It has read the stream to its end, which the source sends after it has stopped.
                Ok(LoadState::Loaded) if self.settings.verify_ram => {
                    if self.source.has_surely_ended() {
                        return Ok(());
                    }
                }
                Ok(LoadState::Receiving) => {}
                Ok(LoadState::Loaded | LoadState::Stopped) | Err(_) => break,
            }
            deadline.sleep(POLL_INTERVAL);
        }
        Err(Exit::Lost(why))
    }
}
