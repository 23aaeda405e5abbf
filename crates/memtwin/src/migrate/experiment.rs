//! The experiment: the guest boots at the source, is put to work, moves, works on, is switched off; then
//! it is judged.

use super::faults::Faults;
use super::stage::{NetworkFound, Platform, Stage};
use super::tell::Tell;
use super::{Migrate, Switch};
use crate::lab::talk::Talk;
use memtwin_lab::Progress;
use memtwin_migrate::guest::console::{Heard, joined};
use memtwin_migrate::{GuestLocation, MigrationEvent, MigrationOutcome, Side, migrate};
use memtwin_replicate::Stop;
use memtwin_report::Case;
use memtwin_report::Failure;
use memtwin_report::record::{Migration, Sweep};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// For a boot, emulated, on a busy machine; and for an order.
const BOOT: Duration = Duration::from_secs(400);
pub(super) const ORDER: Duration = Duration::from_secs(180);

/// An experiment.
pub(super) struct Experiment<'e> {
    pub(super) args: &'e Migrate,
    pub(super) stage: &'e mut Stage,
    pub(super) stop: &'e Stop,
}

/// What it came to.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) cases: Vec<Case>,
    pub(super) not_converged: bool,
    pub(super) closing: Vec<String>,
    pub(super) migration: Option<Migration>,
    /// The fault that did not come about, and why.
    pub(super) missed: Option<String>,
    pub(super) sweep: Option<Sweep>,
}

/// A move, and what the network said after it.
#[derive(Debug)]
pub(super) struct Hop {
    pub(super) moved: MigrationOutcome,
    pub(super) reaches: Vec<String>,
    /// How long the switch of the route waited for the guest's answers.
    pub(super) held: Duration,
}

impl Experiment<'_> {
    /// Runs it.
    ///
    /// Errors: it never came to a migration.
    pub(super) fn run(mut self, talk: &mut Talk) -> Result<Found, Failure> {
        self.args.settings(self.target(1))?;
        let mut faults = Faults::new(&self.args.fault, self.stage.breakable.clone(), self.stop)?;
        let mut here = self.boot(talk)?;
        self.load(&here.console, talk)?;
        let mut there = self.incoming(1, talk)?;
        if let Some(network) = &mut self.stage.network {
            network.begin(talk)?;
        }
        faults.begin(0).iter().for_each(|line| talk.say(line));
        self.wait(self.args.seconds.0)?;
        let mut broken = faults.end(0);
        if !broken.is_empty() {
            // It moves once it has its disk again. If it never has, the verdicts will tell.
            let _ = here.console.order("run sync", ORDER, talk);
        }

        let (mut hops, mut heard): (Vec<Hop>, Vec<Heard>) = (Vec::new(), Vec::new());
        loop {
            let n = hops.len() + 1;
            let hop = self.hop(n, &mut here, &mut there, &mut faults, talk)?;
            broken.extend(faults.end(n));
            let arrived = hop.moved.location == GuestLocation::Destination;
            hops.push(hop);
            if !arrived || n >= usize::from(self.args.hops) || self.stop.wait(self.args.seconds.0) {
                break;
            }
            heard.push(here.console.heard());
            here.end();
            here = there;
            there = self.incoming(n + 1, talk)?;
        }
        // What is left to be learnt is not given up because we were told to stop.
        let network = self.network(talk)?;
        let account = self.account(&hops, &mut here, &mut there, talk);
        heard.extend([here.console.heard(), there.console.heard()]);
        here.end();
        there.end();
        let mut found = self.judge(&hops, &account, &joined(&heard), network, talk)?;
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
        faults: &mut Faults<'_>,
        talk: &mut Talk,
    ) -> Result<Hop, Failure> {
        let settings = self.args.settings(self.target(n))?;
        talk.say(&format!("migrating to {}", settings.connect));
        let mut tell = Tell::new(talk);
        let mut hear = |event: MigrationEvent<'_>, _: &mut Side, _: &mut Side| {
            tell.hear(&event);
            if matches!(event, MigrationEvent::Look(told) if told.ram.is_some_and(|ram| ram.transferred > 0))
            {
                faults.begin(n).iter().for_each(|line| tell.say(line));
            }
        };
        let moved = migrate(here, there, &settings, self.stop, &mut hear);
        self.arrived(n, moved.map_err(Failure::environment)?, there, talk)
    }

    /// What follows a move: the route is switched.
    pub(super) fn arrived(
        &mut self,
        n: usize,
        moved: MigrationOutcome,
        there: &mut Side,
        talk: &mut Talk,
    ) -> Result<Hop, Failure> {
        let (mut reaches, mut held) = (Vec::new(), Duration::ZERO);
        match &moved.location {
            GuestLocation::Destination => {
                if let Some(network) = &mut self.stage.network {
                    let mut hush = Hush(self.stop);
                    let mut ask = |line: &str| {
                        let answer = there.console.order(&format!("run {line}"), ORDER, &mut hush);
                        answer.ok().map(|(_, said)| said)
                    };
                    (reaches, held) = network.switch(n.is_multiple_of(2), &mut ask, talk)?;
                }
            }
            GuestLocation::Source(why) => {
                talk.say(&format!("the guest runs on at the source: {why}"));
            }
            GuestLocation::Nowhere(why) => talk.say(&format!("the guest runs nowhere: {why}")),
        }
        Ok(Hop { moved, reaches, held })
    }

    /// Starts the source, and waits until its guest takes orders.
    pub(super) fn boot(&self, talk: &mut Talk) -> Result<Side, Failure> {
        let platform = &self.stage.source;
        // It begins when we listen.
        let spec = platform.guest.side(
            "source",
            &platform.folder,
            &platform.memtwin,
            &self.stage.folder,
            false,
            true,
        );
        talk.say(&format!("booting the guest on {}", platform.host.name()));
        let mut source =
            Side::start(Arc::clone(&platform.host), spec, talk).map_err(Failure::environment)?;
        let _: Value = source.qmp.execute("cont", ()).map_err(Failure::environment)?;
        let about = source.console.ready(BOOT, talk).map_err(Failure::environment)?;
        talk.say(&format!("guest ready: {about}"));
        Ok(source)
    }

    /// Where the guest goes in a hop.
    pub(super) fn target(&self, n: usize) -> &Platform {
        if n.is_multiple_of(2) { &self.stage.source } else { &self.stage.destination }
    }

    /// Starts a QEMU that waits for the guest.
    fn incoming(&self, n: usize, talk: &mut Talk) -> Result<Side, Failure> {
        talk.say(&format!("starting the destination on {}", self.target(n).host.name()));
        let name = if n == 1 { "destination".to_owned() } else { format!("hop{n}") };
        self.incoming_as(&name, n, talk)
    }

    /// The same, quietly, under a name that no other side of the run has.
    pub(super) fn incoming_as(
        &self,
        name: &str,
        n: usize,
        talk: &mut Talk,
    ) -> Result<Side, Failure> {
        let platform = self.target(n);
        let still = self.args.verify_ram == Switch::On;
        let spec = platform.guest.side(
            name,
            &platform.folder,
            &platform.memtwin,
            &self.stage.folder,
            true,
            still,
        );
        Side::start(Arc::clone(&platform.host), spec, talk).map_err(Failure::environment)
    }

    /// What came of the network.
    pub(super) fn network(&mut self, talk: &mut Talk) -> Result<Option<NetworkFound>, Failure> {
        let Some(network) = &mut self.stage.network else { return Ok(None) };
        // As long as before, so that there is something on either side of the move.
        let _ = self.stop.wait(self.args.seconds.0);
        network.end(talk).map(Some)
    }

    pub(super) fn wait(&self, time: Duration) -> Result<(), Failure> {
        match self.stop.wait(time) {
            true => Err(Failure::environment("interrupted")),
            false => Ok(()),
        }
    }
}

/// Says nothing, and gives up when told to.
pub(super) struct Hush<'s>(pub(super) &'s Stop);

impl Progress for Hush<'_> {
    fn say(&mut self, _line: &str) {}

    fn is_cancelled(&self) -> bool {
        self.0.is_set()
    }
}
