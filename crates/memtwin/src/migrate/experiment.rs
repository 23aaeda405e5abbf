//! The experiment: the guest boots at the source, is put to work, moves, works on, is switched off; then
//! it is judged.

use super::judge::{self, Account};
use super::stage::{NetworkFound, Platform, Stage};
use super::tell::Tell;
use super::{Migrate, Switch, clocks};
use crate::failure::Failure;
use crate::lab::talk::Talk;
use memtwin_lab::Progress;
use memtwin_migrate::beat::Beat;
use memtwin_migrate::console::{Console, ConsoleError, Heard, Line, joined};
use memtwin_migrate::{Event, Moved, Settings, Side, Whereabouts, Why, beat, migrate};
use memtwin_pages::Layout;
use memtwin_replicate::Stop;
use memtwin_report::record::Migration;
use memtwin_report::{Case, Trial};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// For a boot, emulated, on a busy machine; and for an order.
const BOOT: Duration = Duration::from_secs(400);
const ORDER: Duration = Duration::from_secs(180);
/// How often the heart beats.
pub(super) const BEAT: Duration = Duration::from_millis(200);
/// Where `diskload` writes.
pub(super) const WRITTEN: &str = "/data/written";

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
}

/// A move, and what the network said after it.
#[derive(Debug)]
struct Hop {
    moved: Moved,
    reaches: Vec<String>,
    /// How long the switch of the route waited for the guest's answers.
    held: Duration,
}

impl Experiment<'_> {
    /// Runs it.
    ///
    /// Errors: it never came to a migration.
    pub(super) fn run(mut self, talk: &mut Talk) -> Result<Found, Failure> {
        self.settings(1)?;
        let mut here = self.boot(talk)?;
        self.load(&here.console, talk)?;
        let mut there = self.incoming(1, talk)?;
        if let Some(network) = &mut self.stage.network {
            network.begin(talk)?;
        }
        self.wait(self.args.seconds.0)?;

        let (mut hops, mut heard): (Vec<Hop>, Vec<Heard>) = (Vec::new(), Vec::new());
        loop {
            let n = hops.len() + 1;
            let hop = self.hop(n, &mut here, &mut there, talk)?;
            let arrived = hop.moved.whereabouts == Whereabouts::Destination;
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
        self.judge(&hops, &account, &joined(&heard), network, talk)
    }

    /// One move.
    fn hop(
        &mut self,
        n: usize,
        here: &mut Side,
        there: &mut Side,
        talk: &mut Talk,
    ) -> Result<Hop, Failure> {
        let settings = self.settings(n)?;
        talk.say(&format!("migrating to {}", settings.connect));
        let mut tell = Tell::new(talk);
        let mut hear = |event: Event<'_>, _: &mut Side, _: &mut Side| tell.hear(&event);
        let moved = migrate(here, there, &settings, self.stop, &mut hear);
        let moved = moved.map_err(Failure::environment)?;
        let (mut reaches, mut held) = (Vec::new(), Duration::ZERO);
        match &moved.whereabouts {
            Whereabouts::Destination => {
                if let Some(network) = &mut self.stage.network {
                    let mut hush = Hush(self.stop);
                    let mut ask = |line: &str| {
                        let answer = there.console.order(&format!("run {line}"), ORDER, &mut hush);
                        answer.ok().map(|(_, said)| said)
                    };
                    (reaches, held) = network.switch(n.is_multiple_of(2), &mut ask, talk)?;
                }
            }
            Whereabouts::Source(why) => {
                talk.say(&format!("the guest runs on at the source: {why}"));
            }
            Whereabouts::Nowhere(why) => talk.say(&format!("the guest runs nowhere: {why}")),
        }
        Ok(Hop { moved, reaches, held })
    }

    /// Starts the source, and waits until its guest takes orders.
    fn boot(&self, talk: &mut Talk) -> Result<Side, Failure> {
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
    fn target(&self, n: usize) -> &Platform {
        if n.is_multiple_of(2) { &self.stage.source } else { &self.stage.destination }
    }

    /// Starts a QEMU that waits for the guest.
    fn incoming(&self, n: usize, talk: &mut Talk) -> Result<Side, Failure> {
        let platform = self.target(n);
        talk.say(&format!("starting the destination on {}", platform.host.name()));
        let name = if n == 1 { "destination".to_owned() } else { format!("hop{n}") };
        let still = self.args.verify_ram == Switch::On;
        let spec = platform.guest.side(
            &name,
            &platform.folder,
            &platform.memtwin,
            &self.stage.folder,
            true,
            still,
        );
        Side::start(Arc::clone(&platform.host), spec, talk).map_err(Failure::environment)
    }

    /// Puts the guest to work.
    fn load(&self, console: &Console, talk: &mut Talk) -> Result<(), Failure> {
        let beat = BEAT.as_millis();
        let mut orders =
            self.stage.network.as_ref().map_or_else(Vec::new, |network| network.orders());
        orders.push(format!("show beat writeout --fine --interval {beat}"));
        orders.push(format!("show disk diskload {WRITTEN}"));
        for (n, load) in self.loads().iter().enumerate() {
            talk.say(&format!("guest: dirtyram {load}"));
            orders.push(format!("start load{n} dirtyram {load}"));
        }
        for order in orders {
            console.succeed(&order, ORDER, talk).map_err(Failure::environment)?;
        }
        let begun = |line: &str| line.starts_with("heartbeat ");
        console.wait(0, "first heartbeat", ORDER, talk, begun).map_err(Failure::environment)?;
        for n in 0..self.loads().len() {
            // It has all its pages once it has said the first word.
            let order = format!(
                "run for i in $(seq 600); do [ -s /run/load{n}.log ] && exit 0; usleep 200000; done; exit 1"
            );
            console.succeed(&order, ORDER, talk).map_err(Failure::environment)?;
        }
        Ok(())
    }

    /// The parameters of each copy of `dirtyram`.
    fn loads(&self) -> Vec<String> {
        if self.args.no_load {
            return Vec::new();
        }
        if !self.args.load.is_empty() {
            return self.args.load.clone();
        }
        // 1600 MiB of a guest's of 2 GiB and 2048 pages of them: half of this guest's memory, as a small
        // one's kernel takes a larger part, and as many of its pages in proportion.
        let pages = ((self.stage.source.guest.memory << 20) / 2) >> 12;
        vec![format!("{pages} {} 50", (pages * 2048 / 409_600).max(1))]
    }

    fn settings(&self, hop: usize) -> Result<Settings, Failure> {
        let args = self.args;
        let mut parameters = std::collections::BTreeMap::new();
        if let Some(bandwidth) = args.bandwidth {
            parameters.insert("max-bandwidth".to_owned(), Value::from(bandwidth.0));
        }
        if let Some(limit) = args.downtime_limit {
            let limit = u64::try_from(limit.0.as_millis()).unwrap_or(u64::MAX);
            parameters.insert("downtime-limit".to_owned(), Value::from(limit));
        }
        for parameter in &args.parameter {
            let (name, value) = parameter.split_once('=').ok_or_else(|| {
                Failure::usage(format!("--parameter {parameter}: expected NAME=VALUE"))
            })?;
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
            parameters.insert(name.to_owned(), value);
        }
        // Which side has stopped is asked, not heard; the source tells its passes by counting.
        let mut names = args.capability.clone();
        if let Some(multifd) = parameters.get("multifd-channels").map(|_| "multifd".to_owned()) {
            names.push(multifd);
        }
        let capabilities = names.into_iter().map(|name| (name, true)).collect();
        Ok(Settings {
            listen: self.target(hop).listen.clone(),
            connect: self.target(hop).connect.clone(),
            capabilities,
            parameters,
            timeout: args.timeout.0,
            verify_ram: args.verify_ram == Switch::On,
            control: args.control,
            postcopy: args.capability.iter().any(|name| name == "postcopy-ram"),
        })
    }

    /// What came of the network.
    fn network(&mut self, talk: &mut Talk) -> Result<Option<NetworkFound>, Failure> {
        let Some(network) = &mut self.stage.network else { return Ok(None) };
        // As long as before, so that there is something on either side of the move.
        let _ = self.stop.wait(self.args.seconds.0);
        network.end(talk).map(Some)
    }

    /// Has the guest tell what it has done, and switches it off.
    fn account(&self, hops: &[Hop], here: &mut Side, there: &mut Side, talk: &mut Talk) -> Account {
        let Some(last) = hops.last() else { return Account::default() };
        let console = match &last.moved.whereabouts {
            Whereabouts::Destination => &there.console,
            Whereabouts::Source(_) => &here.console,
            Whereabouts::Nowhere(why) => {
                return Account {
                    trouble: Some(format!("the guest runs nowhere: {why}")),
                    ..Account::default()
                };
            }
        };
        if self.stage.network.is_none() {
            let _ = self.wait(self.args.seconds.0);
        }
        let mut account = Account::default();
        // Interrupted or not: it is bounded, and tells what there is to tell.
        let mut hush = Hush(&Stop::default());
        let mut ask = || -> Result<(), ConsoleError> {
            for n in 0..self.loads().len() {
                let (_, said) = console.order(&format!("stop load{n}"), ORDER, &mut hush)?;
                account.loads.push(beat::load(said.iter().map(String::as_str)));
                account
                    .load_said
                    .extend(said.into_iter().filter(|line| line.starts_with("dirtyram total")));
            }
            console.order("stop disk", ORDER, &mut hush)?;
            console.order("stop beat", ORDER, &mut hush)?;
            let oops = "run dmesg | grep -E 'Oops|BUG:|Call trace|I/O error|EXT[0-9]-fs error|soft lockup|detected stall'";
            let (_, said) = console.order(oops, ORDER, &mut hush)?;
            account.oops = said.into_iter().filter(|line| line.starts_with('[')).collect();
            console.order("run sync", ORDER, &mut hush)?;
            Ok(())
        };
        if let Err(error) = ask() {
            account.trouble = Some(error.to_string());
        }
        // Without a word: it ends with QEMU.
        talk.say("the guest has told its story");
        account
    }

    fn judge(
        &self,
        hops: &[Hop],
        account: &Account,
        lines: &[Line],
        network: Option<NetworkFound>,
        talk: &mut Talk,
    ) -> Result<Found, Failure> {
        let name = self.stage.name.clone();
        let trial = |part: &str| Trial::new(format!("migrate/{part}"), &name, &Layout::default());
        let beats = beat::beats(lines);
        let mut found = Found::default();
        let (mut pulses, alone) = (Vec::new(), hops.len() == 1);
        for (n, hop) in (1..).zip(hops) {
            // Up to the next one, so that each gap is seen once.
            let until = hops.get(n).map(|next| next.moved.began);
            let until = |beat: &&Beat| until.is_none_or(|until| beat.at < until);
            let own: Vec<Beat> = beats.iter().filter(until).copied().collect();
            let pulse = beat::pulse(&own, hop.moved.began, hop.moved.resumed, BEAT);
            let seen = network.clone().filter(|_| alone).unwrap_or_default();
            let clocks_ = clocks::clocks(&hop.moved, pulse.as_ref(), &seen, hop.held);
            found.closing.extend((!alone).then(|| format!("hop {n}")));
            found.closing.extend(judge::closing(&hop.moved));
            found.closing.extend(clocks::lines(&clocks_, hop.moved.pause, hop.held));
            found.closing.extend(hop.reaches.iter().cloned());
            let ram = if n == 1 { "ram".to_owned() } else { format!("ram/hop={n}") };
            found.cases.extend(judge::ram(&format!("migrate/{ram}"), &name, &hop.moved));
            found.migration = Some(judge::migration(&hop.moved, account, clocks_));
            pulses.push((&hop.moved, pulse));
        }
        talk.say("checking the guest's disk");
        found.cases.push(judge::disk(self.stage, trial("disk"), lines, &mut found.closing, talk));
        found.cases.push(judge::guest(trial("guest"), &pulses, account, &mut found.closing));
        found.cases.push(match &network {
            None => Case::skipped(
                "migrate/network",
                &name,
                "no network between two QEMUs on one machine",
            ),
            Some(NetworkFound { wrong: Some(why), .. }) => trial("network").differs(why),
            Some(NetworkFound { unknown: Some(why), .. }) => {
                trial("network").inconclusive(why, Vec::new())
            }
            Some(_) if hops.iter().any(|hop| hop.moved.whereabouts != Whereabouts::Destination) => {
                Case::skipped("migrate/network", &name, "the guest did not move")
            }
            Some(_) => trial("network").judged(Vec::new(), Default::default()),
        });
        found.closing.extend(network.into_iter().flat_map(|network| network.lines));
        let last = hops.last().map(|hop| (&hop.moved, &hop.moved.whereabouts));
        match last {
            Some((moved, Whereabouts::Source(Why::NotConverged))) => {
                found.not_converged = true;
                let limit = self.args.downtime_limit;
                let limit = limit.map_or(Duration::from_millis(300), |limit| limit.0);
                let advice = moved.course.advice(limit).map(|advice| advice.lines());
                found.closing.extend(advice.unwrap_or_default());
            }
            Some((_, Whereabouts::Source(Why::Interrupted))) => {
                found.closing.push("interrupted: the guest ran on at the source".to_owned());
            }
            _ => {}
        }
        if self.args.keep {
            found.closing.push(format!("kept: {}", self.stage.folder.display()));
        }
        Ok(found)
    }

    fn wait(&self, time: Duration) -> Result<(), Failure> {
        match self.stop.wait(time) {
            true => Err(Failure::environment("interrupted")),
            false => Ok(()),
        }
    }
}

/// Says nothing, and gives up when told to.
struct Hush<'s>(&'s Stop);

impl Progress for Hush<'_> {
    fn say(&mut self, _line: &str) {}

    fn is_cancelled(&self) -> bool {
        self.0.is_set()
    }
}
