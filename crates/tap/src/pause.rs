//! How long the guest stood still for us, and that it did all the time.

use crate::deliver::PAUSE_INTERVAL;
use crate::migration_tap::{MigrationTap, log};
use memtwin_qemu::{RunState, status};
use memtwin_qmp::Timestamp;
use memtwin_replicate::{PageReceiver, RoundError, SourceError};
use std::time::{Duration, Instant, SystemTime};

/// What QEMU takes to let the guest run when its pause is over, and a guardian to hear of it: as much less
/// is left to us.
const RELEASE_TIME: Duration = Duration::from_millis(50);

/// How long a guest stood still, by QEMU's own clock; where no events come, as it was seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PausedInterval {
    /// When its vCPUs were stopped (the time of QEMU's event STOP).
    pub from: Duration,
    /// When they were let run on (RESUME), if they were.
    pub to: Option<Duration>,
}

impl PausedInterval {
    /// How long, if it is over.
    pub fn time(&self) -> Option<Duration> {
        self.to?.checked_sub(self.from)
    }
}

impl MigrationTap<'_> {
    /// How long the guest stood still for us, if it did.
    pub fn paused(&self) -> Option<PausedInterval> {
        self.paused
    }

    /// When the guest must run again at the latest. `None`: it does not stand still for us, as it was
    /// paused before.
    pub fn resume_by(&self) -> Option<Instant> {
        self.resume_by.filter(|_| self.ran)
    }

    /// Errors unless the guest has stood still since its last pages came.
    ///
    /// To be asked after its memory was read: somebody else may have let it run meanwhile.
    pub fn confirm_still(&mut self) -> Result<(), SourceError> {
        let now = status(self.qmp).map_err(log)?;
        self.note_events();
        // One that ran meanwhile may have been paused again.
        let other = match self.qmp.orders_events() {
            true => self.paused != self.judged || self.paused.is_some_and(|it| it.to.is_some()),
            // QEMU refuses cont in this state, and leaves it when our migration ends, and not before.
            false => {
                now.status != RunState::FinishMigrate
                    || self.reader.socket().closed_by_qemu(Duration::ZERO)
            }
        };
        if now.running || other {
            let who = self.was_cut().unwrap_or_else(|| "something else has let it".to_owned());
            return Err(SourceError::Guest(format!(
                "it ran while it was compared (state '{}'): {who}",
                now.status
            )));
        }
        Ok(())
    }

    /// Notes when the guest was stopped and let run.
    pub(crate) fn note_events(&mut self) {
        let events = self.qmp.events();
        if !self.qmp.orders_events() {
            // As it is seen from here: it was let run when QEMU is as it was.
            let paused =
                self.paused.as_mut().filter(|it| it.to.is_none() && self.cleanup.is_none());
            paused.into_iter().for_each(|paused| paused.to = Some(now()));
            return;
        }
        for event in events {
            match event.name.as_str() {
                "STOP" => {
                    self.paused = Some(PausedInterval { from: time(event.timestamp), to: None });
                }
                "RESUME" => {
                    if let Some(paused) = &mut self.paused {
                        paused.to = Some(time(event.timestamp));
                    }
                }
                _ => {}
            }
        }
    }

    /// QEMU may pause the guest from here on. As long as it runs, its pause has not begun, and the
    /// guardian hears so; when it is seen to be paused, the time counts.
    ///
    /// It is seen by QEMU's event, and QEMU is not asked: until its last pages are taken it may not answer.
    /// Where no events come, it is asked while they are.
    ///
    /// Whether it runs. Errors: it stands still for too long, or there is no guardian.
    pub(crate) fn count_pause(&mut self, into: &mut dyn PageReceiver) -> Result<bool, RoundError> {
        self.counted(|tap| {
            if !tap.qmp.orders_events() {
                return tap.is_running(into);
            }
            tap.qmp.look_for_events().map_err(log)?;
            tap.note_events();
            Ok(tap.paused.is_none_or(|paused| paused.to.is_some()))
        })
    }

    /// The same when all pages have come: QEMU is asked.
    pub(crate) fn ask_and_count_pause(&mut self) -> Result<bool, RoundError> {
        self.counted(|tap| Ok(!tap.stood_still()?))
    }

    /// As long as QEMU was not seen to be held, it may leave pre-copy at any time and pause the guest: the
    /// guardian hears that we are there, and such a pause counts as one that was asked for.
    ///
    /// Errors: it stands still for too long, or there is no guardian.
    pub(crate) fn count_unasked_pause(
        &mut self,
        into: &mut dyn PageReceiver,
    ) -> Result<(), RoundError> {
        let is_due = self.looked.is_none_or(|looked| looked.elapsed() >= PAUSE_INTERVAL);
        if self.is_held || self.may_end || !self.ran || !is_due {
            return Ok(());
        }
        self.looked = Some(Instant::now());
        if !self.count_pause(into)? && self.asked_state(into)? != RunState::FinishMigrate {
            // Somebody else has paused it, for as long as they like.
            (self.resume_by, self.seen_running) = (None, None);
        }
        Ok(())
    }

    /// It has stayed when it could have left: from here on it pauses the guest when it is let go, and not before.
    pub(crate) fn is_seen_to_hold(&mut self) {
        if !self.is_held {
            // What was counted so far is none of the pause at the end.
            (self.is_held, self.seen_running) = (true, None);
            self.cleanup.iter_mut().for_each(|cleanup| cleanup.guardian().unwatch());
        }
    }

    fn counted(
        &mut self,
        runs: impl FnOnce(&mut Self) -> Result<bool, RoundError>,
    ) -> Result<bool, RoundError> {
        if !self.ran {
            return Ok(false);
        }
        if let Some(by) = self.resume_by {
            return if Instant::now() < by { Ok(false) } else { Err(self.too_long().into()) };
        }
        // Before it is looked: however long that takes, the guardian counts.
        self.watched()?;
        let looked = Instant::now();
        let running = runs(self)?;
        if running {
            self.seen_running = Some(looked);
            return Ok(true);
        }
        self.resume_by = Some(self.seen_running.unwrap_or(looked) + ours(self.max_pause));
        if !self.qmp.orders_events() {
            self.paused = Some(PausedInterval { from: now(), to: None });
        }
        Ok(false)
    }

    fn watched(&mut self) -> Result<(), SourceError> {
        let pause = ours(self.max_pause);
        let watched =
            self.cleanup.as_mut().map_or(Ok(()), |cleanup| cleanup.guardian().watch(pause));
        watched.map_err(|errno| {
            SourceError::Log(format!("the guardian process is gone: {errno}").into())
        })
    }

    /// What is said of a guest that would stand still for longer than it may.
    pub(crate) fn too_long(&mut self) -> SourceError {
        SourceError::Guest(self.was_cut().unwrap_or_else(|| {
            format!(
                "its last pages took longer than it may stand still (--max-pause {} ms), so it was let run; \
                 a larger --max-pause gives them more time",
                self.max_pause.as_millis()
            )
        }))
    }

    /// Why our guardian ended the stream, if it did.
    pub fn was_cut(&mut self) -> Option<String> {
        let state = self.cleanup.as_mut()?.guardian().ended_in()?;
        let we = match state {
            'T' | 't' => "memtwin was stopped (SIGSTOP, Ctrl-Z, a debugger)",
            'D' => "memtwin waited for a disk",
            _ => "memtwin was not ready",
        };
        if self.resume_by.is_none() && !self.may_end {
            return Some(format!(
                "{we}, for as long as the guest may stand still (--max-pause {} ms), while QEMU was not yet known \
                 to be held and might have paused it, so the guardian process has ended the migration; a larger \
                 --max-pause gives more time",
                self.max_pause.as_millis()
            ));
        }
        Some(format!(
            "{we} when the guest had stood still for as long as it may (--max-pause {} ms), so the guardian \
             process let it run; a larger --max-pause gives more time",
            self.max_pause.as_millis()
        ))
    }
}

/// What is ours of a pause.
fn ours(max_pause: Duration) -> Duration {
    max_pause.saturating_sub(RELEASE_TIME).max(max_pause / 2)
}

/// Since 1970, by ours.
fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Since 1970, by QEMU's clock.
fn time(stamp: Timestamp) -> Duration {
    let seconds = Duration::from_secs(stamp.seconds.try_into().unwrap_or_default());
    seconds + Duration::from_micros(stamp.microseconds.try_into().unwrap_or_default())
}
