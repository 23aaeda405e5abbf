//! The migration itself: both monitors are driven, every answer is looked at, and at any moment it is
//! known where the guest is. It never runs twice, and is given up at the source only once it may run at
//! the destination.
//!
//! The destination is started with `-S` where RAM is to be judged: it has the guest then, and has not
//! run it. Until it does, the source can take the guest back.

use crate::course::{Course, Round};
use crate::give_up::Held;
use crate::moved::{Moved, Whereabouts, Why};
use crate::postcopy::{Broken, is_postcopy};
use crate::side::Side;
use crate::silence::Silence;
use memtwin_qemu::{
    Capabilities, Migration, Parameters, RunState, Status, migration, set_capabilities,
    set_parameters,
};
use memtwin_qmp::{Qmp, QmpError};
use memtwin_replicate::Stop;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How often both sides are asked.
pub(super) const LOOK: Duration = Duration::from_millis(100);
/// How long a look waits for the destination.
pub(super) const GLANCE: Duration = Duration::from_secs(5);
/// How long a side may take to come to the state that it must come to.
pub(super) const SETTLE: Duration = Duration::from_secs(120);

/// How long nothing may be sent. TCP tries again more and more rarely after a link was cut: it needs up to
/// as long again to notice that it is back.
pub const STALL: Duration = Duration::from_secs(60);

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
    /// When to give up if nothing is sent any more: [`STALL`].
    pub stall: Duration,
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
    /// Postcopy has broken off, and is taken up again.
    BrokenOff,
    /// RAM is being judged.
    Judging,
    /// The guest runs at the destination.
    Resumed,
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
    NotRunning(RunState),
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
        told: false,
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

pub(super) fn ask(qmp: &mut Qmp, command: &str, arguments: Value) -> Result<(), QmpError> {
    qmp.execute(command, arguments).map(|_: Value| ())
}

/// A migration under way.
pub(super) struct Drive<'d> {
    pub(super) settings: &'d Settings,
    pub(super) stop: &'d Stop,
    /// Whether a destination that would run its guest by itself was told not to: who lets it run then are we.
    pub(super) told: bool,
    pub(super) moved: Moved,
}

pub(super) type Hear<'h> = &'h mut dyn FnMut(Event<'_>, &mut Side, &mut Side);

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
        let (mut silence, mut broken) = (Silence::default(), Broken::default());
        loop {
            let told = match migration(&mut source.qmp) {
                Ok(told) => told,
                // It may wait for its disk, and will go on.
                Err(error @ QmpError::Timeout { .. }) if !source.is_cut_off() => {
                    if self.is_long_over() || self.stop.is_set() {
                        return Some(self.unanswered(source, destination, &error));
                    }
                    continue;
                }
                Err(error) => return Some(self.source_gone(source, destination, &error, hear)),
            };
            let status = told.status.clone();
            let silent = silence.see(Instant::now(), &told);
            hear(Event::Look(&told), source, destination);
            if let Some(round) = self.moved.course.see(Instant::now(), told) {
                hear(Event::Round(&round), source, destination);
                if std::mem::take(&mut postcopy) {
                    // Refused where the capability is not set: then it stays pre-copy.
                    let _ = ask(&mut source.qmp, "migrate-start-postcopy", json!({}));
                }
            }
            self.look(source, destination);
            match &status {
                Status::Completed => return None,
                Status::Cancelled => {
                    let why = cancelled.unwrap_or(Why::Failed("somebody cancelled it".to_owned()));
                    return Some(self.back(source, why));
                }
                // It has not heard that the guest has arrived.
                Status::Failed if destination.state().is_ok_and(|state| state.running) => {
                    return Some(self.stays_there(source));
                }
                Status::Failed => {
                    let said = self.moved.course.last.error_desc.clone();
                    let why = cancelled
                        .unwrap_or_else(|| self.failed(destination, said.unwrap_or_default()));
                    return Some(self.back(source, why));
                }
                // Its memory is on both sides: to cancel it now would lose the guest.
                _ if is_postcopy(&status) => {
                    let lost = self.postcopy(source, destination, &status, silent, &mut broken);
                    if lost.is_some() {
                        return lost;
                    }
                    if broken.is_new() {
                        hear(Event::BrokenOff, source, destination);
                    }
                    std::thread::sleep(LOOK);
                    continue;
                }
                _ => {}
            }
            match &cancelled {
                Some(why) if self.is_long_over() => return Some(self.back(source, why.clone())),
                Some(_) => {}
                None => {
                    if let Some(why) = self.enough(silent) {
                        match self.hold(destination) {
                            Held::Runs => return Some(self.stays_there(source)),
                            // What has not all of it can't run it, whether it says so or not.
                            Held::Unknown if status == Status::Device => {}
                            Held::Never | Held::Unknown => {
                                cancelled = Some(why);
                                // It may have completed just now, which the next look finds.
                                let _ = ask(&mut source.qmp, "migrate_cancel", json!({}));
                            }
                        }
                    }
                }
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Why it is to be cancelled, if it is.
    fn enough(&self, silent: Duration) -> Option<Why> {
        match () {
            () if self.stop.is_set() => Some(Why::Interrupted),
            () if silent >= self.settings.stall => Some(Why::Stalled(silent)),
            () if self.moved.began.elapsed() >= self.settings.timeout => Some(Why::NotConverged),
            () => None,
        }
    }

    /// Whether even what was given up should have ended.
    fn is_long_over(&self) -> bool {
        self.moved.began.elapsed() >= self.settings.timeout.saturating_add(SETTLE)
    }

    /// Asks both sides whether they run the guest: the destination first, as the source, once it
    /// has stopped, does not go on by itself when the destination runs.
    pub(super) fn look(&mut self, source: &mut Side, destination: &mut Side) {
        // Where it is not reached, the source is not kept waiting for that.
        let patience = destination.qmp.patience();
        destination.qmp.set_patience(patience.min(GLANCE));
        let there = destination.state();
        destination.qmp.set_patience(patience);
        let here = source.state();
        if let (Ok(there), Ok(here)) = (there, here) {
            self.moved.looks += 1;
            self.moved.doubled += u64::from(there.running && here.running);
            if there.running {
                // In postcopy long before everything was sent.
                self.moved.resumed.get_or_insert_with(Instant::now);
            }
        }
    }
}
