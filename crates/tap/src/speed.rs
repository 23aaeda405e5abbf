//! Setting how fast QEMU goes while its stream is read: it answers only when it need not wait for us.

use crate::migration_tap::{MigrationTap, log};
use crate::throttle::Throttle;
use memtwin_qemu::{GuestStatus, Migration, Parameters, RunState};
use memtwin_replicate::{PageReceiver, RoundError, SourceError};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;

/// How long an answer is waited for before the stream is looked at again.
const ANSWER_INTERVAL: Duration = Duration::from_millis(1);
/// Megabits a second, in bytes a millisecond.
const MEGABIT: f64 = 125.0;

impl MigrationTap<'_> {
    /// Sets how fast QEMU goes, if the migration under way is ours and nobody else has set it. It takes effect
    /// in a tenth of a second.
    pub(crate) fn throttle(
        &mut self,
        throttle: Throttle,
        into: &mut dyn PageReceiver,
    ) -> Result<(), RoundError> {
        if self.reader.why_ended().is_some() {
            return Err(self.ended().into());
        }
        let now: Parameters = self.asked("query-migrate-parameters", json!({}), into)?;
        let ours = Throttle::all_values(self.max_pause, self.hold.held_bytes());
        let changed = ours.iter().find(|(name, values)| {
            now.get(name.as_str()).is_some_and(|value| !values.contains(value))
        });
        if let Some((name, _)) = changed {
            let (now, name) = (&now[name], name.clone());
            let problem = format!(
                "somebody else has set {name} to {now} meanwhile, so QEMU can't be held; theirs is left as it is"
            );
            return Err(SourceError::Log(problem.into()).into());
        }
        let settings = throttle.settings(&self.pace).parameters;
        let changed: Parameters =
            settings.into_iter().filter(|(name, value)| now.get(name) != Some(value)).collect();
        if changed.is_empty() {
            return Ok(());
        }
        self.asked::<Value>("migrate-set-parameters", json!(changed), into).map(|_| ())
    }

    /// Looks how fast QEMU sends, if it goes by that.
    pub(crate) fn measure(&mut self, into: &mut dyn PageReceiver) -> Result<(), RoundError> {
        if !self.pace.is_told {
            let now: Migration = self.asked("query-migrate", json!({}), into)?;
            let bytes = now.ram.map_or(0.0, |ram| ram.mbps * MEGABIT);
            // A float in this range is a whole number of bytes, cut off.
            self.pace.sent_lately = if bytes.is_finite() && bytes > 0.0 { bytes as u64 } else { 0 };
        }
        Ok(())
    }

    /// Whether the guest runs.
    pub(crate) fn is_running(&mut self, into: &mut dyn PageReceiver) -> Result<bool, RoundError> {
        Ok(self.asked::<GuestStatus>("query-status", json!({}), into)?.running)
    }

    /// QEMU's word for the state of its guest.
    pub(crate) fn asked_state(
        &mut self,
        into: &mut dyn PageReceiver,
    ) -> Result<RunState, RoundError> {
        Ok(self.asked::<GuestStatus>("query-status", json!({}), into)?.status)
    }

    /// Executes a command, and goes on reading while QEMU does not answer.
    fn asked<T: DeserializeOwned>(
        &mut self,
        command: &str,
        arguments: Value,
        into: &mut dyn PageReceiver,
    ) -> Result<T, RoundError> {
        let pending = self.qmp.submit(command, arguments).map_err(log)?;
        loop {
            if let Some(answer) = self.qmp.try_answer(&pending, ANSWER_INTERVAL).map_err(log)? {
                return Ok(answer);
            }
            // A stream that has ended says so to whoever reads next.
            if self.reader.why_ended().is_none() {
                self.step(Duration::ZERO, into)?;
            }
        }
    }
}
