//! The last steps: everything was sent, both guests stand still, and one of them is to run.

use crate::broken_off::gone;
use crate::drive::{Drive, Event, Hear, LOOK, SETTLE, ask};
use crate::moved::{Whereabouts, Why};
use crate::ram::{RamError, RamVerdict, compare_sides};
use crate::side::Side;
use memtwin_pages::RegionId;
use memtwin_qemu::RunState;
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
            if let Some(why) = self.judge(source, destination) {
                // What could not be judged goes back, where it came from: unless nobody is there to
                // take it. Then the destination has the only copy that there is, as after any migration
                // that nobody judges; and the source, which had sent everything, had stopped for good.
                if !matches!(why, Why::NotJudged(_)) || source.state().is_ok() {
                    return self.take_back(source, destination, why);
                }
            }
            if let Err(refused) = self.go_on(source, destination) {
                // It may not write the image, say.
                return self.take_back(source, destination, Why::Failed(refused.to_string()));
            }
        }
        // It had not said that it heard us, and everything came all the same.
        if self.told
            && let Err(refused) = self.go_on(source, destination)
        {
            return Whereabouts::Nowhere(Why::Failed(refused.to_string()));
        }
        self.moved.resumed.get_or_insert_with(Instant::now);
        self.look(source, destination);
        let began = Instant::now();
        loop {
            match destination.state() {
                Ok(state) if state.running => {
                    hear(Event::Resumed, source, destination);
                    return Whereabouts::Destination;
                }
                Ok(state) => {
                    let why = format!("the destination is {}", state.status);
                    return Whereabouts::Nowhere(Why::Failed(why));
                }
                // It waits for its disk, say.
                Err(QmpError::Timeout { .. })
                    if !destination.is_cut_off() && began.elapsed() < SETTLE => {}
                Err(error) => return Whereabouts::Nowhere(gone(destination, &error)),
            }
        }
    }

    /// Judges RAM while both stand still. Why the guest must not go on at the destination, if it must not.
    fn judge(&mut self, source: &Side, destination: &Side) -> Option<Why> {
        let began = Instant::now();
        let verdict = compare_sides(&source.place(), &destination.place());
        let mut spoilt = false;
        if self.settings.control
            && let Ok(verdict) = &verdict
            && verdict.differing.is_empty()
            && let Some((region, page)) = in_the_middle(verdict)
        {
            let found = control(source, destination, verdict, region, page, &mut spoilt);
            self.moved.control = Some((region, page, found));
        }
        self.moved.pause = began.elapsed();
        let why = match &verdict {
            _ if spoilt => Some(Why::Spoilt),
            Ok(verdict) if verdict.differing.is_empty() => None,
            Ok(_) => Some(Why::RamDiffers),
            Err(error) => Some(Why::NotJudged(error.to_string())),
        };
        self.moved.ram = Some(verdict);
        why
    }

    /// Lets the destination run the guest. Where the source is there no more, a refusal may be for the
    /// locks of a dead host, which a server keeps for a while, and is not the last word.
    ///
    /// Errors: it is refused. Any other error leaves it open whether the guest has run there; then it must
    /// not go on at the source, and the destination is to be asked.
    fn go_on(&mut self, source: &mut Side, destination: &mut Side) -> Result<(), QmpError> {
        let began = Instant::now();
        loop {
            match ask(&mut destination.qmp, "cont", json!({})) {
                Err(QmpError::Refused { .. })
                    if source.is_cut_off() && began.elapsed() < SETTLE && !self.stop.is_set() =>
                {
                    std::thread::sleep(LOOK);
                }
                Err(error @ QmpError::Refused { .. }) => return Err(error),
                _ => return Ok(()),
            }
        }
    }

    /// Waits until the destination has taken everything in.
    fn settled(&mut self, destination: &mut Side) -> Result<(), Why> {
        let began = Instant::now();
        loop {
            match destination.state() {
                Ok(state) if state.running || state.status == RunState::Paused => return Ok(()),
                Ok(state) if state.status == RunState::InMigrate && began.elapsed() < SETTLE => {}
                Ok(state) => {
                    return Err(Why::Failed(format!("the destination is {}", state.status)));
                }
                Err(error) => return Err(gone(destination, &error)),
            }
            std::thread::sleep(LOOK / 4);
        }
    }
}

/// The page in the middle of the largest block.
fn in_the_middle(verdict: &RamVerdict) -> Option<(RegionId, u64)> {
    let (id, region) = verdict.layout.iter().max_by_key(|(_, region)| region.bytes())?;
    Some((id, region.pages() / 2))
}

/// Flips a word of a page at the destination, compares again, and flips it back: the judge, who is not
/// told, must find that page and no other. `spoilt`: the word may not be as it was.
fn control(
    source: &Side,
    destination: &Side,
    verdict: &RamVerdict,
    region: RegionId,
    page: u64,
    spoilt: &mut bool,
) -> Result<RamVerdict, RamError> {
    let (name, place) = (verdict.layout.region(region).name(), destination.place());
    place.flip(name, page).inspect_err(|_| *spoilt = true)?;
    let found = verdict.again(&source.place(), &place);
    place.flip(name, page).inspect_err(|_| *spoilt = true)?;
    found
}
