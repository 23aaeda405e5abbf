//! Where the guest is after a migration that broke off.

use crate::drive::{Drive, Event, Hear, LOOK, SETTLE, ask};
use crate::give_up::ended;
use crate::moved::{Whereabouts, Why};
use crate::side::Side;
use memtwin_qemu::RunState;
use memtwin_qmp::QmpError;
use serde_json::json;
use std::time::Instant;

impl Drive<'_> {
    /// Whether the guest runs on at the source, which it must.
    pub(super) fn back(&mut self, source: &mut Side, why: Why) -> Whereabouts {
        let began = Instant::now();
        loop {
            match source.state() {
                Ok(state) if state.running => return Whereabouts::Source(why),
                Ok(_) if began.elapsed() < SETTLE / 4 => std::thread::sleep(LOOK),
                _ => return Whereabouts::Nowhere(died(source).unwrap_or(why)),
            }
        }
    }

    pub(super) fn failed(&mut self, destination: &mut Side, said: String) -> Why {
        // It says why by ending, in its own words.
        std::thread::sleep(LOOK * 2);
        if destination.has_surely_ended() {
            let own = destination.said();
            return Why::DestinationGone(if own.is_empty() { said } else { own });
        }
        Why::Failed(if said.is_empty() { "QEMU does not say why".to_owned() } else { said })
    }

    /// The source takes the guest back: only if the destination can't have run it.
    pub(super) fn take_back(
        &mut self,
        source: &mut Side,
        destination: &mut Side,
        why: Why,
    ) -> Whereabouts {
        let never_ran = self.settings.verify_ram && self.moved.resumed.is_none();
        if !ended(destination) || !never_ran {
            return Whereabouts::Nowhere(why);
        }
        match ask(&mut source.qmp, "cont", json!({})) {
            Ok(()) => self.back(source, why),
            Err(_) => Whereabouts::Nowhere(died(source).unwrap_or(why)),
        }
    }

    /// The source does not answer any more. A destination that has everything has the guest, and may go
    /// on with it once the source has surely ended; any other has nothing.
    pub(super) fn source_gone(
        &mut self,
        source: &mut Side,
        destination: &mut Side,
        error: &QmpError,
        hear: Hear<'_>,
    ) -> Whereabouts {
        let said = source.said();
        let why = Why::SourceGone(if said.is_empty() { error.to_string() } else { said });
        let began = Instant::now();
        while began.elapsed() < SETTLE / 4 {
            match destination.state() {
                Ok(state) if state.running => {
                    self.moved.resumed = Some(Instant::now());
                    return Whereabouts::Destination;
                }
                // It has read the stream to its end, which the source sends after it has stopped.
                Ok(state) if state.status == RunState::Paused && self.settings.verify_ram => {
                    if source.has_surely_ended() {
                        self.moved.arrived = Some(Instant::now());
                        hear(Event::Arrived, source, destination);
                        return self.hand_over(source, destination, hear);
                    }
                }
                Ok(state) if state.status == RunState::InMigrate => {}
                _ => break,
            }
            std::thread::sleep(LOOK);
        }
        Whereabouts::Nowhere(why)
    }
}

/// That the source ended, if it did: then the guest is nowhere for that reason, whatever was the first.
fn died(source: &mut Side) -> Option<Why> {
    let began = Instant::now();
    // Its connection ends a moment before it does.
    // One that was cut off may have ended too: nothing can be said of its guest then either.
    let gone = |source: &mut Side| source.is_cut_off() || source.has_surely_ended();
    while !gone(source) && source.state().is_err() && began.elapsed() < SETTLE / 40 {
        std::thread::sleep(LOOK / 4);
    }
    gone(source).then(|| Why::SourceGone(source.said()))
}

/// Why a destination does not answer.
pub(super) fn gone(side: &mut Side, error: &QmpError) -> Why {
    let said = side.said();
    Why::DestinationGone(if said.is_empty() { error.to_string() } else { said })
}
