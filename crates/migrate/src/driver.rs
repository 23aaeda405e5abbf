//! The migration itself: both monitors are driven, every answer is looked at, and at any moment it is
//! known where the guest is. It never runs twice, and is given up at the source only once it may run at
//! the destination.
//!
//! `MigrationDriver::run` is the whole of it; what it may do is a function of the `MigrationPhase`. The
//! destination is started with `-S` where RAM is to be judged: it has the guest then, and has not run it.
//! Until it does, the source can take the guest back.

mod advice;
mod give_up;
mod outcome;
mod phase;
mod postcopy;
mod pre_copy;
mod progress;
mod roll_back;
mod settings;
mod stall;
mod switch_over;

pub use advice::{ConvergenceAdvice, Needed};
pub use outcome::{FailureReason, GuestLocation, MigrationOutcome};
pub use progress::{MigrationProgress, PrecopyRound};
pub use settings::{MigrationSettings, STALL_TIMEOUT};

use crate::side::Side;
use memtwin_qemu::{Migration, RunState, set_capabilities, set_parameters};
use memtwin_qmp::{Qmp, QmpError};
use memtwin_replicate::CancelToken;
use phase::{DestinationStart, MigrationPhase, Runner};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How often both sides are asked.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How long a look waits for the destination.
const GLANCE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a side may take to come to the state that it must come to.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(120);

/// What happens meanwhile.
#[derive(Clone, Copy, Debug)]
pub enum MigrationEvent<'e> {
    /// QEMU's answer to a look.
    Look(&'e Migration),
    /// A round has ended.
    Round(&'e PrecopyRound),
    /// The source has sent everything; the guest stands still on both sides.
    Arrived,
    /// Postcopy has broken off, and is taken up again.
    BrokenOff,
    /// RAM is being judged.
    Judging,
    /// The guest runs at the destination.
    Resumed,
}

/// Hears of events, and may do something to either side; so do tests.
type Hear<'h> = &'h mut dyn FnMut(MigrationEvent<'_>, &mut Side, &mut Side);

/// Why it never began. The guest is as it was.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// A side refuses, or does not answer.
    #[error("{side}: {error}")]
    Side {
        /// The side's name.
        side: String,
        /// What its QEMU said, or that it did not answer.
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
    settings: &MigrationSettings,
    stop: &CancelToken,
    hear: &mut dyn FnMut(MigrationEvent<'_>, &mut Side, &mut Side),
) -> Result<MigrationOutcome, BeginError> {
    let mut driver = MigrationDriver::set_up(source, destination, settings, stop, hear)?;
    driver.outcome.location = driver.run();
    driver.outcome.progress.close();
    Ok(driver.outcome)
}

/// A migration under way.
struct MigrationDriver<'d> {
    source: &'d mut Side,
    destination: &'d mut Side,
    settings: &'d MigrationSettings,
    stop: &'d CancelToken,
    hear: Hear<'d>,
    phase: MigrationPhase,
    /// Whether a destination that would run its guest by itself was told not to: who lets it run then are we.
    told_to_stop: bool,
    outcome: MigrationOutcome,
}

/// A way out before the end, by what is to be done about it.
enum Exit {
    /// QEMU has given it up: the source must run on.
    GivenUp(FailureReason),
    /// The source is there, and does not answer.
    SourceSilent(QmpError),
    /// The destination runs the guest, and the source does not know of it.
    SourceUnaware,
    /// The destination runs the guest, and the source is gone.
    DestinationAlone,
    /// Both have the guest, and the destination must not run it.
    TakeBack(FailureReason),
    /// It can't run anywhere any more.
    Lost(FailureReason),
}

impl<'d> MigrationDriver<'d> {
    /// Gives both sides their settings, and tells them to migrate.
    fn set_up(
        source: &'d mut Side,
        destination: &'d mut Side,
        settings: &'d MigrationSettings,
        stop: &'d CancelToken,
        hear: Hear<'d>,
    ) -> Result<Self, BeginError> {
        let phase = MigrationPhase::SettingUp;
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
        on(source, |side| ask(&mut side.qmp, "migrate", json!({ "uri": settings.connect })))?;
        let outcome = MigrationOutcome::begun(Instant::now());
        Ok(Self { source, destination, settings, stop, hear, phase, told_to_stop: false, outcome })
    }

    /// The migration, from its beginning to where the guest is then.
    fn run(&mut self) -> GuestLocation {
        match self.every_phase() {
            Err(Exit::GivenUp(why)) => self.runs_on_at_source(why),
            Err(Exit::SourceSilent(error)) => self.give_up_unheard(&error),
            Err(Exit::SourceUnaware) => self.leave_at_destination(),
            Err(Exit::DestinationAlone) => GuestLocation::Destination,
            Err(Exit::TakeBack(why)) => self.take_back(why),
            Err(Exit::Lost(why)) => GuestLocation::Nowhere(why),
            Ok(()) => GuestLocation::Destination,
        }
    }

    /// The phases of one that goes well, in their order.
    fn every_phase(&mut self) -> Result<(), Exit> {
        self.enter(MigrationPhase::PreCopy);
        self.pre_copy()?;

        self.enter(MigrationPhase::BothStopped);
        self.outcome.arrived = Some(Instant::now());
        self.tell(MigrationEvent::Arrived);
        self.wait_until_loaded()?;
        if self.settings.verify_ram {
            self.tell(MigrationEvent::Judging);
            self.judge()?;
        }
        self.let_destination_run()?;

        self.enter(MigrationPhase::DestinationRunning);
        self.see_it_run()
    }

    fn enter(&mut self, phase: MigrationPhase) {
        self.phase = phase;
    }

    /// Who may run the guest now.
    fn may_run(&self) -> Runner {
        let start = match self.settings.verify_ram {
            true => DestinationStart::WhenTold,
            false => DestinationStart::ByItself,
        };
        self.phase.may_run(start)
    }

    fn tell(&mut self, event: MigrationEvent<'_>) {
        (self.hear)(event, self.source, self.destination);
    }

    /// Whether even what was given up should have ended.
    fn is_long_over(&self) -> bool {
        self.outcome.began.elapsed() >= self.settings.timeout.saturating_add(SETTLE_TIMEOUT)
    }

    /// Asks both sides whether they run the guest: the destination first, as the source, once it
    /// has stopped, does not go on by itself when the destination runs.
    fn look(&mut self) {
        // Where it is not reached, the source is not kept waiting for that.
        let patience = self.destination.qmp.patience();
        self.destination.qmp.set_patience(patience.min(GLANCE_TIMEOUT));
        let there = self.destination.state();
        self.destination.qmp.set_patience(patience);
        let here = self.source.state();
        if let (Ok(there), Ok(here)) = (there, here) {
            self.outcome.looks += 1;
            self.outcome.doubled += u64::from(there.running && here.running);
            if there.running {
                // In postcopy long before everything was sent.
                self.outcome.resumed.get_or_insert_with(Instant::now);
            }
        }
    }
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
