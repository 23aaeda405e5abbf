//! Whether and how long the guest stood still for us, and that it did all the time.

use crate::guardian::STOPPED_FOR;
use crate::tap::{Tap, log};
use memtwin_qemu::status;
use memtwin_qmp::Timestamp;
use memtwin_replicate::SourceError;
use std::time::Duration;

/// How long a guest stood still, by QEMU's own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stood {
    /// When its vCPUs were stopped (the time of QEMU's event STOP).
    pub from: Duration,
    /// When they were let run on (RESUME), if they were.
    pub to: Option<Duration>,
}

impl Stood {
    /// How long, if it is over.
    pub fn time(&self) -> Option<Duration> {
        self.to?.checked_sub(self.from)
    }
}

impl Tap<'_> {
    /// How long the guest stood still for us, if it did.
    pub fn stood(&self) -> Option<Stood> {
        self.stood
    }

    /// Errors unless the guest has stood still since its last pages came.
    ///
    /// To be asked after its memory was read: somebody else may have let it run meanwhile.
    pub fn confirm_still(&mut self) -> Result<(), SourceError> {
        let now = status(self.qmp).map_err(log)?;
        self.note_events();
        // One that ran meanwhile may have been paused again.
        let other = self.stood != self.judged || self.stood.is_some_and(|stood| stood.to.is_some());
        if now.running || other {
            let who = self.was_stopped().unwrap_or_else(|| "something else has let it".to_owned());
            return Err(SourceError::Guest(format!(
                "it ran while it was compared (state '{}'): {who}",
                now.status
            )));
        }
        Ok(())
    }

    /// Notes when the guest was stopped and let run.
    pub(crate) fn note_events(&mut self) {
        for event in self.qmp.events() {
            match event.name.as_str() {
                "STOP" => self.stood = Some(Stood { from: time(event.timestamp), to: None }),
                "RESUME" => {
                    if let Some(stood) = &mut self.stood {
                        stood.to = Some(time(event.timestamp));
                    }
                }
                _ => {}
            }
        }
    }

    /// From here on QEMU may pause the guest, and a stop of ours would stop it too.
    pub(crate) fn watched(&self) -> Result<(), SourceError> {
        let watched = self.post.as_ref().map_or(Ok(()), |post| post.guardian.watch());
        watched.map_err(|errno| {
            SourceError::Log(format!("the guardian process is gone: {errno}").into())
        })
    }

    /// What our guardian did if we were stopped while the guest stood still.
    pub(crate) fn was_stopped(&mut self) -> Option<String> {
        let has_cut = self.post.as_mut().is_some_and(|post| post.guardian.has_cut());
        has_cut.then(|| {
            format!(
                "memtwin was stopped (SIGSTOP, Ctrl-Z) for {} s while the guest stood still for it, \
                 so its guardian cut the stream to let the guest run; do not stop it in the last pass",
                STOPPED_FOR.as_secs()
            )
        })
    }
}

/// Since 1970, by QEMU's clock.
fn time(stamp: Timestamp) -> Duration {
    let seconds = Duration::from_secs(stamp.seconds.try_into().unwrap_or_default());
    seconds + Duration::from_micros(stamp.microseconds.try_into().unwrap_or_default())
}
