//! The last steps: everything was sent, both guests stand still, and one of them is to run.

use super::outcome::FailureReason;
use super::phase::LoadState;
use super::roll_back::gone;
use super::{Exit, MigrationDriver, MigrationEvent, POLL_INTERVAL, SETTLE_TIMEOUT, ask};
use crate::side::Side;
use crate::verdict::compare::{RamError, RamVerdict, compare_sides};
use memtwin_pages::RegionId;
use memtwin_qmp::QmpError;
use memtwin_wait::Deadline;
use serde_json::json;
use std::time::Instant;

impl MigrationDriver<'_> {
    /// Waits until the destination has taken everything in.
    pub(super) fn wait_until_loaded(&mut self) -> Result<(), Exit> {
        let deadline = Deadline::after(SETTLE_TIMEOUT);
        loop {
            let state = match self.destination.state() {
                Ok(state) => state,
                Err(error) => return Err(Exit::TakeBack(gone(self.destination, &error))),
            };
            match LoadState::of(&state) {
                LoadState::Running | LoadState::Loaded => return Ok(()),
                LoadState::Receiving if !deadline.is_over() => {}
                LoadState::Receiving | LoadState::Stopped => {
                    let why = format!("the destination is {}", state.status);
                    return Err(Exit::TakeBack(FailureReason::Failed(why)));
                }
            }
            deadline.sleep(POLL_INTERVAL / 4);
        }
    }

    /// Judges RAM while both stand still: whether the guest may go on at the destination.
    pub(super) fn judge(&mut self) -> Result<(), Exit> {
        let began = Instant::now();
        let (source, destination) = (self.source.digests_at(), self.destination.digests_at());
        let verdict = compare_sides(&source, &destination);
        let mut spoilt = false;
        if self.settings.control
            && let Ok(verdict) = &verdict
            && verdict.differing.is_empty()
            && let Some((region, page)) = in_the_middle(verdict)
        {
            let found = control(self.source, self.destination, verdict, region, page, &mut spoilt);
            self.outcome.control = Some((region, page, found));
        }
        self.outcome.pause = began.elapsed();
        let why = match &verdict {
            _ if spoilt => Some(FailureReason::Spoilt),
            Ok(verdict) if verdict.differing.is_empty() => None,
            Ok(_) => Some(FailureReason::RamDiffers),
            Err(error) => Some(FailureReason::NotJudged(error.to_string())),
        };
        self.outcome.ram = Some(verdict);
        match why {
            // What could not be judged goes back, where it came from: unless nobody is there to
            // take it. Then the destination has the only copy that there is, as after any migration
            // that nobody judges; and the source, which had sent everything, had stopped for good.
            Some(FailureReason::NotJudged(_)) if self.source.state().is_err() => Ok(()),
            Some(why) => Err(Exit::TakeBack(why)),
            None => Ok(()),
        }
    }

    /// Lets the destination run the guest, if it does not do so by itself.
    pub(super) fn let_destination_run(&mut self) -> Result<(), Exit> {
        let refused = |error: QmpError| FailureReason::Failed(error.to_string());
        if self.settings.verify_ram {
            // It may not write the image, say.
            self.go_on().map_err(|error| Exit::TakeBack(refused(error)))?;
        }
        // It had not said that it heard us, and everything came all the same.
        if self.told_to_stop {
            self.go_on().map_err(|error| Exit::Lost(refused(error)))?;
        }
        Ok(())
    }

    /// Sees the guest run at the destination.
    pub(super) fn see_it_run(&mut self) -> Result<(), Exit> {
        self.outcome.resumed.get_or_insert_with(Instant::now);
        self.look();
        let deadline = Deadline::after(SETTLE_TIMEOUT);
        loop {
            match self.destination.state() {
                Ok(state) if state.running => {
                    self.tell(MigrationEvent::Resumed);
                    return Ok(());
                }
                Ok(state) => {
                    let why = format!("the destination is {}", state.status);
                    return Err(Exit::Lost(FailureReason::Failed(why)));
                }
                // It waits for its disk, say.
                Err(QmpError::Timeout { .. })
                    if !self.destination.is_cut_off() && !deadline.is_over() => {}
                Err(error) => return Err(Exit::Lost(gone(self.destination, &error))),
            }
        }
    }

    /// Lets the destination run the guest. Where the source is there no more, a refusal may be for the
    /// locks of a dead host, which a server keeps for a while, and is not the last word.
    ///
    /// Errors: it is refused. Any other error leaves it open whether the guest has run there; then it must
    /// not go on at the source, and the destination is to be asked.
    fn go_on(&mut self) -> Result<(), QmpError> {
        let deadline = Deadline::after(SETTLE_TIMEOUT);
        loop {
            match ask(&mut self.destination.qmp, "cont", json!({})) {
                Err(QmpError::Refused { .. })
                    if self.source.is_cut_off() && !deadline.is_over() && !self.stop.is_set() =>
                {
                    deadline.sleep(POLL_INTERVAL);
                }
                Err(error @ QmpError::Refused { .. }) => return Err(error),
                _ => return Ok(()),
            }
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
    let (name, there) = (verdict.layout.region(region).name(), destination.digests_at());
    there.flip(name, page).inspect_err(|_| *spoilt = true)?;
    let found = verdict.again(&source.digests_at(), &there);
    there.flip(name, page).inspect_err(|_| *spoilt = true)?;
    found
}
