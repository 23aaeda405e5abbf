//! Back to the source: it runs on where QEMU has given the migration up, or takes the guest back.

use super::give_up::ended;
use super::outcome::{FailureReason, GuestLocation};
use super::phase::{MigrationPhase, Runner};
use super::{MigrationDriver, POLL_INTERVAL, SETTLE_TIMEOUT, ask};
use crate::side::Side;
use memtwin_qmp::QmpError;
use memtwin_wait::{Deadline, wait_until};
use serde_json::json;

impl MigrationDriver<'_> {
    /// Whether the guest runs on at the source, which it must.
    pub(super) fn runs_on_at_source(&mut self, why: FailureReason) -> GuestLocation {
        let deadline = Deadline::after(SETTLE_TIMEOUT / 4);
        loop {
            match self.source.state() {
                Ok(state) if state.running => return GuestLocation::Source(why),
                Ok(_) if !deadline.is_over() => deadline.sleep(POLL_INTERVAL),
                _ => return GuestLocation::Nowhere(died(self.source).unwrap_or(why)),
            }
        }
    }

    /// The source takes the guest back: only if the destination can't have run it.
    pub(super) fn take_back(&mut self, why: FailureReason) -> GuestLocation {
        let never_ran = match self.may_run() {
            Runner::Source | Runner::Neither => self.outcome.resumed.is_none(),
            Runner::OneOfThem | Runner::Destination => false,
        };
        if !ended(self.destination) || !never_ran {
            return GuestLocation::Nowhere(why);
        }
        self.enter(MigrationPhase::RollingBack);
        match ask(&mut self.source.qmp, "cont", json!({})) {
            Ok(()) => self.runs_on_at_source(why),
            Err(_) => GuestLocation::Nowhere(died(self.source).unwrap_or(why)),
        }
    }
}

/// That the source ended, if it did: then the guest is nowhere for that reason, whatever was the first.
fn died(source: &mut Side) -> Option<FailureReason> {
    // Its connection ends a moment before it does.
    // One that was cut off may have ended too: nothing can be said of its guest then either.
    let gone = |source: &mut Side| source.is_cut_off() || source.has_surely_ended();
    wait_until(SETTLE_TIMEOUT / 40, POLL_INTERVAL / 4, || gone(source) || source.state().is_ok());
    gone(source).then(|| FailureReason::SourceGone(source.said()))
}

/// Why a destination does not answer.
pub(super) fn gone(side: &mut Side, error: &QmpError) -> FailureReason {
    let said = side.said();
    FailureReason::DestinationGone(if said.is_empty() { error.to_string() } else { said })
}
