//! The last steps: everything was sent, both guests stand still, and one of them is to run.

use crate::drive::{Drive, Event, Hear, LOOK, SETTLE, ask};
use crate::moved::{Whereabouts, Why};
use crate::ram::{RamError, RamVerdict, compare_sides};
use crate::side::Side;
use memtwin_pages::RegionId;
use memtwin_qmp::QmpError;
use serde_json::json;
use std::time::Instant;

impl Drive<'_> {
    /// Everything was sent. From the two guests that stand still to one that runs.
    pub(super) fn hand_over(
        &mut self,
        source: &mut Side,
        destination: &mut Side,
        hear: Hear<'_>,
    ) -> Whereabouts {
        if let Err(why) = self.settled(destination) {
            return self.take_back(source, destination, why);
        }
        if self.settings.verify_ram {
            hear(Event::Judging, source, destination);
            let began = Instant::now();
            let verdict = compare_sides(&source.place(), &destination.place());
            if self.settings.control
                && verdict.as_ref().is_ok_and(|found| found.differing.is_empty())
            {
                self.moved.control =
                    verdict.as_ref().ok().and_then(|v| control(source, destination, v));
            }
            self.moved.pause = began.elapsed();
            let why = match &verdict {
                Ok(verdict) if verdict.differing.is_empty() => None,
                Ok(_) => Some(Why::RamDiffers),
                Err(error) => Some(Why::NotJudged(error.to_string())),
            };
            let restored = self.moved.control.as_ref().is_none_or(|(.., found)| found.is_ok());
            self.moved.ram = Some(verdict);
            if let Some(why) = why {
                return self.take_back(source, destination, why);
            }
            if !restored {
                let why = "the control's word may not be as it was".to_owned();
                return self.take_back(source, destination, Why::NotJudged(why));
            }
            // Any other error leaves it open whether the guest has run there; then it must not go on
            // at the source, and the destination is asked below.
            if let Err(error @ QmpError::Refused { .. }) =
                ask(&mut destination.qmp, "cont", json!({}))
            {
                // It may not write the image, say.
                let why = Why::Failed(error.to_string());
                return self.take_back(source, destination, why);
            }
        }
        self.moved.resumed = Some(Instant::now());
        self.look(source, destination);
        match destination.state() {
            Ok(state) if state.running => {
                hear(Event::Resumed, source, destination);
                Whereabouts::Destination
            }
            Ok(state) => {
                Whereabouts::Nowhere(Why::Failed(format!("the destination is {}", state.status)))
            }
            Err(error) => Whereabouts::Nowhere(gone(destination, &error)),
        }
    }

    /// Waits until the destination has taken everything in.
    fn settled(&mut self, destination: &mut Side) -> Result<(), Why> {
        let began = Instant::now();
        loop {
            match destination.state() {
                Ok(state) if state.running || state.status == "paused" => return Ok(()),
                Ok(state) if state.status == "inmigrate" && began.elapsed() < SETTLE => {}
                Ok(state) => {
                    return Err(Why::Failed(format!("the destination is {}", state.status)));
                }
                Err(error) => return Err(gone(destination, &error)),
            }
            std::thread::sleep(LOOK / 4);
        }
    }

    /// The source takes the guest back: only if the destination can't have run it.
    pub(super) fn take_back(
        &mut self,
        source: &mut Side,
        destination: &mut Side,
        why: Why,
    ) -> Whereabouts {
        let never_ran = self.settings.verify_ram && self.moved.resumed.is_none();
        // It holds the image's lock, and might still be told to go on by somebody.
        let _ = ask(&mut destination.qmp, "quit", json!({}));
        let began = Instant::now();
        while !destination.has_ended() && began.elapsed() < SETTLE {
            std::thread::sleep(LOOK);
        }
        if !never_ran || !destination.has_ended() {
            return Whereabouts::Nowhere(why);
        }
        match ask(&mut source.qmp, "cont", json!({})) {
            Ok(()) => self.back(source, why),
            Err(_) => Whereabouts::Nowhere(why),
        }
    }

    /// The source has ended. A destination that has everything has the guest; any other has nothing.
    pub(super) fn source_gone(
        &mut self,
        source: &mut Side,
        destination: &mut Side,
        error: &QmpError,
    ) -> Whereabouts {
        let said = source.said();
        let why = Why::SourceGone(if said.is_empty() { error.to_string() } else { said });
        let began = Instant::now();
        while began.elapsed() < SETTLE / 4 {
            match destination.state() {
                Ok(state) if state.running => return Whereabouts::Destination,
                Ok(state) if state.status == "inmigrate" => std::thread::sleep(LOOK),
                _ => break,
            }
        }
        Whereabouts::Nowhere(why)
    }
}

fn gone(side: &mut Side, error: &QmpError) -> Why {
    let said = side.said();
    Why::DestinationGone(if said.is_empty() { error.to_string() } else { said })
}

/// Flips a word in the middle of the largest block at the destination, compares again, and flips it
/// back: the judge, who is not told, must find that page and no other.
fn control(
    source: &Side,
    destination: &Side,
    verdict: &RamVerdict,
) -> Option<(RegionId, u64, Result<RamVerdict, RamError>)> {
    let (id, region) = verdict.layout.iter().max_by_key(|(_, region)| region.bytes())?;
    let page = region.pages() / 2;
    let place = destination.place();
    let flip = || place.flip(region.name(), page);
    let found = match flip() {
        Ok(()) => {
            let found = verdict.again(&source.place(), &place);
            flip().and(found)
        }
        Err(error) => Err(error),
    };
    Some((id, page, found))
}
