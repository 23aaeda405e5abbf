//! The experiment: the guest boots at the source, is put to work, moves, works on, is switched off; then
//! it is judged.

mod events;
mod settings;
mod workload;

pub(crate) use events::round_line;
pub(crate) use workload::{BEAT_INTERVAL, WRITTEN};

use crate::config::MigrationConfig;
use crate::faults::FaultSchedule;
use crate::guest::console::{ConsoleOutput, joined};
use crate::hosts::environment::{Environment, MigrationHost, NetworkResult};
use crate::report::MigrationReport;
use crate::{GuestLocation, MigrationEvent, MigrationOutcome, Side, migrate};
use events::EventReporter;
use memtwin_lab::Progress;
use memtwin_replicate::CancelToken;
use memtwin_report::Failure;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// For a boot, emulated, on a busy machine; and for an order.
const BOOT_TIMEOUT: Duration = Duration::from_secs(400);
pub(crate) const ORDER_TIMEOUT: Duration = Duration::from_secs(180);

/// An experiment.
pub(crate) struct MigrationExperiment<'e> {
    pub(crate) config: &'e MigrationConfig,
    pub(crate) environment: &'e mut Environment,
    pub(crate) stop: &'e CancelToken,
}

/// A move, and what the network said after it.
#[derive(Debug)]
pub(crate) struct Hop {
    pub(crate) moved: MigrationOutcome,
    pub(crate) reaches: Vec<String>,
    /// How long the switch of the route waited for the guest's answers.
    pub(crate) held: Duration,
}

impl MigrationExperiment<'_> {
    /// Runs it.
    ///
    /// Errors: it never came to a migration.
    pub(crate) fn run(mut self, progress: &mut dyn Progress) -> Result<MigrationReport, Failure> {
        let mut faults =
            FaultSchedule::new(&self.config.faults, self.environment.breakable.clone(), self.stop)?;
        let mut here = self.boot(progress)?;
        self.load(&here.console, progress)?;
        let mut there = self.incoming(1, progress)?;
        if let Some(network) = &mut self.environment.network {
            network.begin(progress)?;
        }
        faults.begin(0).iter().for_each(|line| progress.say(line));
        self.wait(self.config.work_time)?;
        let mut broken = faults.end(0);
        if !broken.is_empty() {
            // It moves once it has its disk again. If it never has, the verdicts will tell.
            let _ = here.console.order("run sync", ORDER_TIMEOUT, progress);
        }

        let (mut hops, mut heard): (Vec<Hop>, Vec<ConsoleOutput>) = (Vec::new(), Vec::new());
        loop {
            let n = hops.len() + 1;
            let hop = self.hop(n, &mut here, &mut there, &mut faults, progress)?;
            broken.extend(faults.end(n));
            let arrived = hop.moved.location == GuestLocation::Destination;
            hops.push(hop);
            if !arrived
                || n >= usize::from(self.config.hops)
                || self.stop.wait(self.config.work_time)
            {
                break;
            }
            heard.push(here.console.heard());
            here.end();
            here = there;
            there = self.incoming(n + 1, progress)?;
        }
        // What is left to be learnt is not given up because we were told to stop.
        let network = self.network(progress)?;
        let account = self.account(&hops, &mut here, &mut there, progress);
        heard.extend([here.console.heard(), there.console.heard()]);
        here.end();
        there.end();
        let mut found = self.judge(&hops, &account, &joined(&heard), network, progress)?;
        found.closing.extend(broken);
        found.missed = faults.missed.take();
        Ok(found)
    }

    /// One move.
    fn hop(
        &mut self,
        n: usize,
        here: &mut Side,
        there: &mut Side,
        faults: &mut FaultSchedule<'_>,
        progress: &mut dyn Progress,
    ) -> Result<Hop, Failure> {
        let settings = self.config.settings(self.target(n));
        progress.say(&format!("migrating to {}", settings.connect));
        let mut tell = EventReporter::new(progress);
        let mut hear = |event: MigrationEvent<'_>, _: &mut Side, _: &mut Side| {
            tell.hear(&event);
            if matches!(event, MigrationEvent::Look(told) if told.ram.is_some_and(|ram| ram.transferred > 0))
            {
                faults.begin(n).iter().for_each(|line| tell.say(line));
            }
        };
        let moved = migrate(here, there, &settings, self.stop, &mut hear);
        self.arrived(n, moved.map_err(Failure::environment)?, there, progress)
    }

    /// What follows a move: the route is switched.
    pub(crate) fn arrived(
        &mut self,
        n: usize,
        moved: MigrationOutcome,
        there: &mut Side,
        progress: &mut dyn Progress,
    ) -> Result<Hop, Failure> {
        let (mut reaches, mut held) = (Vec::new(), Duration::ZERO);
        match &moved.location {
            GuestLocation::Destination => {
                if let Some(network) = &mut self.environment.network {
                    let mut hush = SilentProgress(self.stop);
                    let mut ask = |line: &str| {
                        let answer =
                            there.console.order(&format!("run {line}"), ORDER_TIMEOUT, &mut hush);
                        answer.ok().map(|(_, said)| said)
                    };
                    (reaches, held) = network.switch(n.is_multiple_of(2), &mut ask, progress)?;
                }
            }
            GuestLocation::Source(why) => {
                progress.say(&format!("the guest runs on at the source: {why}"));
            }
            GuestLocation::Nowhere(why) => progress.say(&format!("the guest runs nowhere: {why}")),
        }
        Ok(Hop { moved, reaches, held })
    }

    /// Starts the source, and waits until its guest takes orders.
    pub(crate) fn boot(&self, progress: &mut dyn Progress) -> Result<Side, Failure> {
        let platform = &self.environment.source;
        // It begins when we listen.
        let spec = platform.guest.side(
            "source",
            &platform.folder,
            &platform.memtwin,
            &self.environment.folder,
            false,
            true,
        );
        progress.say(&format!("booting the guest on {}", platform.host.name()));
        let mut source = Side::start(Arc::clone(&platform.host), spec, progress)
            .map_err(Failure::environment)?;
        let _: Value = source.qmp.execute("cont", ()).map_err(Failure::environment)?;
        let about = source.console.ready(BOOT_TIMEOUT, progress).map_err(Failure::environment)?;
        progress.say(&format!("guest ready: {about}"));
        Ok(source)
    }

    /// Where the guest goes in a hop.
    pub(crate) fn target(&self, n: usize) -> &MigrationHost {
        if n.is_multiple_of(2) { &self.environment.source } else { &self.environment.destination }
    }

    /// Starts a QEMU that waits for the guest.
    fn incoming(&self, n: usize, progress: &mut dyn Progress) -> Result<Side, Failure> {
        progress.say(&format!("starting the destination on {}", self.target(n).host.name()));
        let name = if n == 1 { "destination".to_owned() } else { format!("hop{n}") };
        self.incoming_as(&name, n, progress)
    }

    /// The same, quietly, under a name that no other side of the run has.
    pub(crate) fn incoming_as(
        &self,
        name: &str,
        n: usize,
        progress: &mut dyn Progress,
    ) -> Result<Side, Failure> {
        let platform = self.target(n);
        let still = self.config.verify_ram;
        let spec = platform.guest.side(
            name,
            &platform.folder,
            &platform.memtwin,
            &self.environment.folder,
            true,
            still,
        );
        Side::start(Arc::clone(&platform.host), spec, progress).map_err(Failure::environment)
    }

    /// What came of the network.
    pub(crate) fn network(
        &mut self,
        progress: &mut dyn Progress,
    ) -> Result<Option<NetworkResult>, Failure> {
        let Some(network) = &mut self.environment.network else { return Ok(None) };
        // As long as before, so that there is something on either side of the move.
        let _ = self.stop.wait(self.config.work_time);
        network.end(progress).map(Some)
    }

    pub(crate) fn wait(&self, time: Duration) -> Result<(), Failure> {
        match self.stop.wait(time) {
            true => Err(Failure::environment("interrupted")),
            false => Ok(()),
        }
    }
}

/// Says nothing, and gives up when told to.
pub(crate) struct SilentProgress<'s>(pub(crate) &'s CancelToken);

impl Progress for SilentProgress<'_> {
    fn say(&mut self, _line: &str) {}

    fn is_cancelled(&self) -> bool {
        self.0.is_set()
    }
}
