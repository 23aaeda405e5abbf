//! The migration itself: both monitors are driven, every answer is looked at, and at any moment it is
//! known where the guest is. It never runs twice, and is given up at the source only once it may run at
//! the destination.
//!
//! The destination is started with `-S` where RAM is to be judged: it has the guest then, and has not
//! run it. Until it does, the source can take the guest back.

use crate::course::{Course, Round};
use crate::ram::{RamError, RamVerdict, compare_sides};
use crate::side::Side;
use memtwin_pages::RegionId;
use memtwin_qemu::{
    Capabilities, Migration, Parameters, Status, migration, set_capabilities, set_parameters,
};
use memtwin_qmp::{Qmp, QmpError};
use memtwin_replicate::Stop;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How often both sides are asked.
const LOOK: Duration = Duration::from_millis(100);
/// How long a side may take to come to the state that it must come to.
const SETTLE: Duration = Duration::from_secs(120);

/// How to migrate.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the destination listens, as QEMU's `-incoming` has it.
    pub listen: String,
    /// Where the source connects to.
    pub connect: String,
    /// Capabilities, set on both sides.
    pub capabilities: Capabilities,
    /// Parameters, set on both sides.
    pub parameters: Parameters,
    /// When to give up.
    pub timeout: Duration,
    /// Whether RAM is judged. The destination was then started with `-S`.
    pub verify_ram: bool,
    /// Whether a word is flipped at the destination after that, which must be found.
    pub control: bool,
    /// Go over to postcopy after the first round.
    pub postcopy: bool,
}

/// What happens meanwhile.
#[derive(Clone, Copy, Debug)]
pub enum Event<'e> {
    /// QEMU's answer to a look.
    Look(&'e Migration),
    /// A round has ended.
    Round(&'e Round),
    /// The source has sent everything; the guest stands still on both sides.
    Arrived,
    /// RAM is being judged.
    Judging,
    /// The guest runs at the destination.
    Resumed,
}

/// Where the guest is, and why it is not where it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// It runs at the destination.
    Destination,
    /// It runs at the source.
    Source(Why),
    /// It runs nowhere.
    Nowhere(Why),
}

/// Why it did not move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was given up at the time limit.
    NotConverged,
    /// We were told to stop.
    Interrupted,
    /// QEMU says that it failed.
    Failed(String),
    /// The destination ended.
    DestinationGone(String),
    /// The source ended.
    SourceGone(String),
    /// Its memory did not arrive as it was.
    RamDiffers,
    /// Its memory could not be judged.
    NotJudged(String),
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotConverged => f.write_str("it did not converge in time and was cancelled"),
            Self::Interrupted => f.write_str("interrupted"),
            Self::Failed(why) => write!(f, "the migration failed: {why}"),
            Self::DestinationGone(why) => write!(f, "the destination's QEMU is gone: {why}"),
            Self::SourceGone(why) => write!(f, "the source's QEMU is gone: {why}"),
            Self::RamDiffers => f.write_str("its memory did not arrive as it was"),
            Self::NotJudged(why) => write!(f, "its memory could not be judged: {why}"),
        }
    }
}

/// What a migration came to.
#[derive(Debug)]
pub struct Moved {
    /// Where the guest is.
    pub whereabouts: Whereabouts,
    /// Its rounds.
    pub course: Course,
    /// The verdict on RAM, if it came to one.
    pub ram: Option<Result<RamVerdict, RamError>>,
    /// The page in which the control flipped a word, and what was found then.
    pub control: Option<(RegionId, u64, Result<RamVerdict, RamError>)>,
    /// How long the guest stood still only so that its memory could be judged.
    pub pause: Duration,
    /// When the source was told to migrate.
    pub began: Instant,
    /// When the guest was seen to stand still on both sides.
    pub arrived: Option<Instant>,
    /// When it ran again.
    pub resumed: Option<Instant>,
    /// How often both sides were asked at once whether they run their guest.
    pub looks: u64,
    /// How often both did: never, if all is well.
    pub doubled: u64,
}

/// Why it never began. The guest is as it was.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// A side refuses, or does not answer.
    #[error("{side}: {error}")]
    Side {
        /// Which.
        side: String,
        /// Why.
        error: QmpError,
    },
    /// The guest does not run.
    #[error("the source's guest does not run: it is {0}")]
    NotRunning(String),
}

/// Migrates. Whatever happens, it is said where the guest is.
///
/// Errors: it never began.
pub fn migrate(
    source: &mut Side,
    destination: &mut Side,
    settings: &Settings,
    stop: &Stop,
    hear: &mut dyn FnMut(Event<'_>, &mut Side, &mut Side),
) -> Result<Moved, BeginError> {
    begin(source, destination, settings)?;
    let mut drive = Drive {
        settings,
        stop,
        moved: Moved {
            whereabouts: Whereabouts::Source(Why::Interrupted),
            course: Course::default(),
            ram: None,
            control: None,
            pause: Duration::ZERO,
            began: Instant::now(),
            arrived: None,
            resumed: None,
            looks: 0,
            doubled: 0,
        },
    };
    drive.moved.whereabouts = drive.run(source, destination, hear);
    drive.moved.course.close();
    Ok(drive.moved)
}

fn begin(source: &mut Side, destination: &mut Side, settings: &Settings) -> Result<(), BeginError> {
    let state = on(source, |side| side.state())?;
    if !state.running {
        return Err(BeginError::NotRunning(state.status));
    }
    for side in [&mut *destination, &mut *source] {
        if !settings.capabilities.is_empty() {
            on(side, |side| set_capabilities(&mut side.qmp, &settings.capabilities))?;
        }
        if !settings.parameters.is_empty() {
            on(side, |side| set_parameters(&mut side.qmp, &settings.parameters))?;
        }
    }
    on(destination, |side| {
        ask(&mut side.qmp, "migrate-incoming", json!({ "uri": settings.listen }))
    })?;
    on(source, |side| ask(&mut side.qmp, "migrate", json!({ "uri": settings.connect })))
}

fn on<T>(
    side: &mut Side,
    what: impl FnOnce(&mut Side) -> Result<T, QmpError>,
) -> Result<T, BeginError> {
    let name = side.name().to_owned();
    what(side).map_err(|error| BeginError::Side { side: name, error })
}

fn ask(qmp: &mut Qmp, command: &str, arguments: Value) -> Result<(), QmpError> {
    qmp.execute(command, arguments).map(|_: Value| ())
}

struct Drive<'d> {
    settings: &'d Settings,
    stop: &'d Stop,
    moved: Moved,
}

type Hear<'h> = &'h mut dyn FnMut(Event<'_>, &mut Side, &mut Side);

impl Drive<'_> {
    fn run(&mut self, source: &mut Side, destination: &mut Side, hear: Hear<'_>) -> Whereabouts {
        match self.follow(source, destination, hear) {
            Some(over) => over,
            None => {
                self.moved.arrived = Some(Instant::now());
                hear(Event::Arrived, source, destination);
                self.hand_over(source, destination, hear)
            }
        }
    }

    /// Follows pre-copy to its end: nothing if the guest has arrived, or where it is instead.
    fn follow(
        &mut self,
        source: &mut Side,
        destination: &mut Side,
        hear: Hear<'_>,
    ) -> Option<Whereabouts> {
        let mut cancelled: Option<Why> = None;
        let mut postcopy = self.settings.postcopy;
        loop {
            let told = match migration(&mut source.qmp) {
                Ok(told) => told,
                Err(error) => return Some(self.source_gone(source, destination, &error)),
            };
            let status = told.status.clone();
            hear(Event::Look(&told), source, destination);
            if let Some(round) = self.moved.course.see(Instant::now(), told) {
                hear(Event::Round(&round), source, destination);
                if std::mem::take(&mut postcopy) {
                    // Refused where the capability is not set: then it stays pre-copy.
                    let _ = ask(&mut source.qmp, "migrate-start-postcopy", json!({}));
                }
            }
            self.look(source, destination);
            match status {
                Status::Completed => return None,
                Status::Cancelled => {
                    let why = cancelled.unwrap_or(Why::Failed("somebody cancelled it".to_owned()));
                    return Some(self.back(source, why));
                }
                Status::Failed => {
                    let said = self.moved.course.last.error_desc.clone();
                    let why = self.failed(destination, said.unwrap_or_default());
                    return Some(self.back(source, why));
                }
                Status::PostcopyPaused => {
                    // Half of its memory is on either side.
                    let why = "postcopy broke off, with memory on both sides".to_owned();
                    return Some(Whereabouts::Nowhere(Why::Failed(why)));
                }
                _ => {}
            }
            if let Some(why) = &cancelled
                && self.moved.began.elapsed() >= self.settings.timeout.saturating_add(SETTLE)
            {
                let why = why.clone();
                return Some(self.back(source, why));
            }
            let late = self.moved.began.elapsed() >= self.settings.timeout;
            if cancelled.is_none() && (late || self.stop.is_set()) {
                cancelled =
                    Some(if self.stop.is_set() { Why::Interrupted } else { Why::NotConverged });
                // It may have completed just now, which the next look finds.
                let _ = ask(&mut source.qmp, "migrate_cancel", json!({}));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Asks both sides whether they run the guest: the destination first, as the source, once it
    /// has stopped, does not go on by itself when the destination runs.
    fn look(&mut self, source: &mut Side, destination: &mut Side) {
        let there = destination.state();
        let here = source.state();
        if let (Ok(there), Ok(here)) = (there, here) {
            self.moved.looks += 1;
            self.moved.doubled += u64::from(there.running && here.running);
        }
    }

    /// Everything was sent. From the two guests that stand still to one that runs.
    fn hand_over(
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
    fn take_back(&mut self, source: &mut Side, destination: &mut Side, why: Why) -> Whereabouts {
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

    /// Whether the guest runs on at the source, which it must.
    fn back(&mut self, source: &mut Side, why: Why) -> Whereabouts {
        let began = Instant::now();
        loop {
            match source.state() {
                Ok(state) if state.running => return Whereabouts::Source(why),
                Ok(_) if began.elapsed() < SETTLE / 4 => std::thread::sleep(LOOK),
                _ => return Whereabouts::Nowhere(why),
            }
        }
    }

    fn failed(&mut self, destination: &mut Side, said: String) -> Why {
        // It says why by ending, in its own words.
        std::thread::sleep(LOOK * 2);
        if destination.has_ended() {
            let own = destination.said();
            return Why::DestinationGone(if own.is_empty() { said } else { own });
        }
        Why::Failed(if said.is_empty() { "QEMU does not say why".to_owned() } else { said })
    }

    /// The source has ended. A destination that has everything has the guest; any other has nothing.
    fn source_gone(
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
