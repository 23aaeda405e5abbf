//! Before a migration is given up: the guest must not run at both sides. A destination that runs its guest by
//! itself may have it all, and run it, while the source does not know of it yet; cancelled, the source would
//! run it too.

use super::outcome::{FailureReason, GuestLocation};
use super::phase::{LoadState, MigrationPhase};
use super::{GLANCE_TIMEOUT, MigrationDriver, POLL_INTERVAL, SETTLE_TIMEOUT, ask};
use crate::side::Side;
use memtwin_qmp::QmpError;
use memtwin_wait::wait_until;
use serde_json::{Value, json};
use std::time::Instant;

/// What a destination does that was told not to run its guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DestinationState {
    /// It has not run it, and won't.
    Never,
    /// It has all of it, and runs it.
    Runs,
    /// It does not say.
    Unknown,
}

impl MigrationDriver<'_> {
    /// The destination runs the guest: a source that does not know of it must not go on when it hears of the
    /// link.
    pub(super) fn leave_at_destination(&mut self) -> GuestLocation {
        self.enter(MigrationPhase::DestinationRunning);
        self.source.cut_off();
        self.outcome.resumed.get_or_insert_with(Instant::now);
        GuestLocation::Destination
    }

    /// The source is there and does not answer: in its last pass it waits for a link that is cut, or for its
    /// disk. Where the guest is.
    pub(super) fn give_up_unheard(&mut self, error: &QmpError) -> GuestLocation {
        let unanswered = format!("the source does not answer any more: {error}");
        if self.phase == MigrationPhase::Postcopy {
            return GuestLocation::Nowhere(FailureReason::Failed(format!(
                "{unanswered}; in postcopy the guest's memory is on both sides"
            )));
        }
        match self.stop_destination() {
            DestinationState::Never => {}
            DestinationState::Runs => return self.leave_at_destination(),
            DestinationState::Unknown => {
                let why = format!("{unanswered}, nor does the destination");
                return GuestLocation::Nowhere(FailureReason::Failed(why));
            }
        }
        // Out of band, as it answers nothing else. What it waits for then fails, and it runs its guest again.
        let migration = json!({ "instances": [{ "type": "migration" }] });
        let _ = self.source.urgent.execute_urgently::<Value>("yank", migration);
        let why = match self.stop.is_set() {
            true => FailureReason::Interrupted,
            false => FailureReason::Failed(unanswered.clone()),
        };
        match self.runs_on_at_source(why) {
            // Nobody else has it: it goes on when its disk does.
            GuestLocation::Nowhere(_) if !self.source.has_surely_ended() => {
                GuestLocation::Source(FailureReason::Failed(unanswered))
            }
            known => known,
        }
    }

    /// Sees to it that a destination that runs its guest by itself does not, unless it has.
    pub(super) fn stop_destination(&mut self) -> DestinationState {
        if self.settings.verify_ram || self.destination.has_surely_ended() {
            return DestinationState::Never;
        }
        self.told_to_stop = true;
        let qmp = &mut self.destination.qmp;
        let patience = qmp.patience();
        qmp.set_patience(patience.min(GLANCE_TIMEOUT));
        // Before it has everything, this means that it will not run it when it has (QEMU's qmp_stop).
        let stopped = ask(qmp, "stop", json!({}));
        let state = stopped.and_then(|()| self.destination.state());
        self.destination.qmp.set_patience(patience);
        match state.map(|state| LoadState::of(&state)) {
            Ok(LoadState::Receiving) if ended(self.destination) => DestinationState::Never,
            Ok(LoadState::Receiving) | Err(_) => DestinationState::Unknown,
            Ok(LoadState::Loaded | LoadState::Running | LoadState::Stopped) => {
                let _ = ask(&mut self.destination.qmp, "cont", json!({}));
                DestinationState::Runs
            }
        }
    }
}

/// Ends a QEMU: by its own hand, or from outside. Whether it has surely ended.
pub(super) fn ended(side: &mut Side) -> bool {
    // It holds the image's lock, and might still be told to go on by somebody.
    let hangs = matches!(ask(&mut side.qmp, "quit", json!({})), Err(QmpError::Timeout { .. }));
    if !hangs {
        wait_until(SETTLE_TIMEOUT, POLL_INTERVAL, || side.is_cut_off());
    }
    side.has_surely_ended() || side.cut_off()
}
