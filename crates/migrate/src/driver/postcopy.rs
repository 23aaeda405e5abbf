//! Postcopy that broke off. Half of the guest's memory is on either side then, and only both together have
//! it: so it is never cancelled, but taken up again over a new connection (QEMU's `migrate-recover`).
//!
//! The destination's main loop may wait for a page that does not come. So it is told out of band.

use super::outcome::FailureReason;
use super::{Exit, MigrationDriver, ask};
use crate::side::Side;
use memtwin_qemu::MigrationStatus;
use memtwin_qmp::QmpError;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long after an attempt the next one follows.
const RETRY_INTERVAL: Duration = Duration::from_secs(3);

/// A postcopy that has broken off.
#[derive(Debug, Default)]
pub(super) struct BrokenPostcopy {
    since: Option<Instant>,
    told: bool,
    tried: Option<Instant>,
    /// What the last attempt came to.
    refused: Option<QmpError>,
}

impl BrokenPostcopy {
    /// Whether it has broken off, and nobody was told.
    pub(super) fn is_new(&mut self) -> bool {
        self.since.is_some() && !std::mem::replace(&mut self.told, true)
    }
}

impl MigrationDriver<'_> {
    /// Looks after a postcopy that sends, or has sent nothing for this long, or has broken off.
    pub(super) fn tend_postcopy(
        &mut self,
        status: &MigrationStatus,
        silent: Duration,
        broken: &mut BrokenPostcopy,
    ) -> Result<(), Exit> {
        if *status != MigrationStatus::PostcopyActive {
            return self.take_up(*status == MigrationStatus::PostcopyPaused, broken);
        }
        if silent.is_zero() {
            *broken = BrokenPostcopy::default();
        }
        if silent >= self.settings.stall {
            self.break_off();
        }
        Ok(())
    }

    /// Nothing comes through any more, and nobody says so: breaks it off, which QEMU does by itself only when
    /// TCP gives up, after a quarter of an hour.
    fn break_off(&mut self) {
        for side in [&mut *self.source, &mut *self.destination] {
            // Refused by one that has noticed.
            let _ = urgently(side, "migrate-pause", json!({}));
        }
    }

    /// Takes it up again, unless that has been tried for long enough.
    fn take_up(&mut self, paused: bool, broken: &mut BrokenPostcopy) -> Result<(), Exit> {
        let since = *broken.since.get_or_insert_with(Instant::now);
        const BROKE_OFF: &str = "postcopy broke off, with memory on both sides";
        let gone = |side: &mut Side| match (side.is_cut_off(), side.has_surely_ended()) {
            (_, true) => Some(format!("{BROKE_OFF}; {}", side.said())),
            (true, false) => {
                Some(format!("{BROKE_OFF}; whether {}'s QEMU is there is not known", side.name()))
            }
            (false, false) => None,
        };
        if let Some(said) = gone(self.source) {
            return Err(Exit::Lost(FailureReason::SourceGone(said)));
        }
        if let Some(said) = gone(self.destination) {
            return Err(Exit::Lost(FailureReason::DestinationGone(said)));
        }
        let limit = self.settings.stall * 2;
        if since.elapsed() >= limit {
            let refused = broken.refused.take().map(|error| format!(": {error}"));
            let (seconds, refused) = (limit.as_secs(), refused.unwrap_or_default());
            let why = format!("{BROKE_OFF}; not taken up again in {seconds} s{refused}");
            return Err(Exit::Lost(FailureReason::Failed(why)));
        }
        if paused && broken.tried.is_none_or(|tried| tried.elapsed() >= RETRY_INTERVAL) {
            broken.tried = Some(Instant::now());
            broken.refused = self.try_again().err();
        }
        Ok(())
    }

    fn try_again(&mut self) -> Result<(), QmpError> {
        // It may not have noticed yet; one that has refuses.
        let _ = urgently(self.destination, "migrate-pause", json!({}));
        urgently(self.destination, "migrate-recover", json!({ "uri": self.settings.listen }))?;
        let resume = json!({ "uri": self.settings.connect, "resume": true });
        ask(&mut self.source.qmp, "migrate", resume)
    }
}

fn urgently(side: &mut Side, command: &str, arguments: Value) -> Result<(), QmpError> {
    side.urgent.execute_urgently(command, arguments).map(|_: Value| ())
}
