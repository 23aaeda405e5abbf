//! Before a migration is given up: the guest must not run at both sides. A destination that runs its guest by
//! itself may have it all, and run it, while the source does not know of it yet; cancelled, the source would
//! run it too.

use crate::drive::{Drive, GLANCE, LOOK, SETTLE, ask};
use crate::moved::{Whereabouts, Why};
use crate::postcopy::is_postcopy;
use crate::side::Side;
use memtwin_qemu::RunState;
use memtwin_qmp::QmpError;
use serde_json::{Value, json};
use std::time::Instant;

/// What a destination does that was told not to run its guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// It has not run it, and won't.
    Never,
    /// It has all of it, and runs it.
    Runs,
    /// It does not say.
    Unknown,
}

impl Drive<'_> {
    /// The destination runs the guest: a source that does not know of it must not go on when it hears of the
    /// link.
    pub(super) fn stays_there(&mut self, source: &mut Side) -> Whereabouts {
        source.cut_off();
        self.moved.resumed.get_or_insert_with(Instant::now);
        Whereabouts::Destination
    }

    /// The source is there and does not answer: in its last pass it waits for a link that is cut, or for its
    /// disk. Where the guest is.
    pub(super) fn unanswered(
        &mut self,
        source: &mut Side,
        destination: &mut Side,
        error: &QmpError,
    ) -> Whereabouts {
        let unanswered = format!("the source does not answer any more: {error}");
        if is_postcopy(&self.moved.course.last.status) {
            return Whereabouts::Nowhere(Why::Failed(format!(
                "{unanswered}; in postcopy the guest's memory is on both sides"
            )));
        }
        match self.hold(destination) {
            Held::Never => {}
            Held::Runs => return self.stays_there(source),
            Held::Unknown => {
                let why = format!("{unanswered}, nor does the destination");
                return Whereabouts::Nowhere(Why::Failed(why));
            }
        }
        // Out of band, as it answers nothing else. What it waits for then fails, and it runs its guest again.
        let migration = json!({ "instances": [{ "type": "migration" }] });
        let _ = source.urgent.execute_urgently::<Value>("yank", migration);
        let why = match self.stop.is_set() {
            true => Why::Interrupted,
            false => Why::Failed(unanswered.clone()),
        };
        match self.back(source, why) {
            // Nobody else has it: it goes on when its disk does.
            Whereabouts::Nowhere(_) if !source.has_surely_ended() => {
                Whereabouts::Source(Why::Failed(unanswered))
            }
            known => known,
        }
    }

    /// Sees to it that a destination that runs its guest by itself does not, unless it has.
    pub(super) fn hold(&mut self, destination: &mut Side) -> Held {
        if self.settings.verify_ram || destination.has_surely_ended() {
            return Held::Never;
        }
        self.told = true;
        let patience = destination.qmp.patience();
        destination.qmp.set_patience(patience.min(GLANCE));
        // Before it has everything, this means that it will not run it when it has (QEMU's qmp_stop).
        let state = ask(&mut destination.qmp, "stop", json!({})).and_then(|()| destination.state());
        destination.qmp.set_patience(patience);
        match state {
            Ok(state) if state.status == RunState::InMigrate && ended(destination) => Held::Never,
            Ok(state) if state.status != RunState::InMigrate => {
                let _ = ask(&mut destination.qmp, "cont", json!({}));
                Held::Runs
            }
            _ => Held::Unknown,
        }
    }
}

/// Ends a QEMU: by its own hand, or from outside. Whether it has surely ended.
pub(super) fn ended(side: &mut Side) -> bool {
    // It holds the image's lock, and might still be told to go on by somebody.
    let hangs = matches!(ask(&mut side.qmp, "quit", json!({})), Err(QmpError::Timeout { .. }));
    let began = Instant::now();
    while !hangs && !side.is_cut_off() && began.elapsed() < SETTLE {
        std::thread::sleep(LOOK);
    }
    side.has_surely_ended() || side.cut_off()
}
