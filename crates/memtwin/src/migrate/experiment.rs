//! The experiment: the guest boots at the source, is put to work, moves, works on, is switched off; then
//! it is judged.

use super::judge::{self, Account};
use super::stage::{NetworkFound, Stage};
use super::tell::Tell;
use super::{Migrate, Switch, clocks};
use crate::failure::Failure;
use crate::lab::talk::Talk;
use memtwin_lab::Progress;
use memtwin_migrate::console::{Console, ConsoleError, joined};
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

impl Experiment<'_> {
    /// Runs it.
    ///
    /// Errors: it never came to a migration.
    pub(super) fn run(mut self, talk: &mut Talk) -> Result<Found, Failure> {
        let settings = self.settings()?;
        let mut source = self.boot(talk)?;
        self.load(&source.console, talk)?;
        talk.say("starting the destination");
        let mut destination = self.destination(talk)?;
        if let Some(network) = &mut self.stage.network {
            network.begin(talk)?;
        }
        self.wait(self.args.seconds.0)?;

        talk.say(&format!("migrating to {}", settings.connect));
        let mut tell = Tell::new(talk);
        let mut hear = |event: Event<'_>, _: &mut Side, _: &mut Side| tell.hear(&event);
        let moved = migrate(&mut source, &mut destination, &settings, self.stop, &mut hear)
            .map_err(Failure::environment)?;
        match &moved.whereabouts {
            Whereabouts::Destination => {}
            Whereabouts::Source(why) => {
                talk.say(&format!("the guest runs on at the source: {why}"))
            }
            Whereabouts::Nowhere(why) => talk.say(&format!("the guest runs nowhere: {why}")),
        }
        // What is left to be learnt is not given up because we were told to stop.
        let network = self.network(&moved, &destination.console, talk)?;
        let account = self.account(&moved, &mut source, &mut destination, talk);
        let source_heard = source.console.heard();
        let destination_heard = destination.console.heard();
        source.end();
        destination.end();
        let lines = joined(&source_heard, &destination_heard);
        self.judge(&moved, &account, &lines, network, talk)
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

    fn destination(&self, talk: &mut Talk) -> Result<Side, Failure> {
        let platform = &self.stage.destination;
        let still = self.args.verify_ram == Switch::On;
        let spec = platform.guest.side(
            "destination",
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

    fn settings(&self) -> Result<Settings, Failure> {
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
            listen: self.stage.listen.clone(),
            connect: self.stage.connect.clone(),
            capabilities,
            parameters,
            timeout: args.timeout.0,
            verify_ram: args.verify_ram == Switch::On,
            control: args.control,
            postcopy: args.capability.iter().any(|name| name == "postcopy-ram"),
        })
    }

    /// After the move: who reaches whom, the switch of the route, and what came of the stream.
    fn network(
        &mut self,
        moved: &Moved,
        console: &Console,
        talk: &mut Talk,
    ) -> Result<Option<NetworkFound>, Failure> {
        let Some(network) = &mut self.stage.network else { return Ok(None) };
        let (mut lines, mut held) = (Vec::new(), Duration::ZERO);
        if moved.whereabouts == Whereabouts::Destination {
            let mut hush = Hush(self.stop);
            let mut ask = |line: &str| {
                let answer = console.order(&format!("run {line}"), ORDER, &mut hush);
                answer.map(|(_, said)| said).unwrap_or_default()
            };
            (lines, held) = network.switch(&mut ask, talk)?;
        }
        // As long as before, so that there is something on either side of it.
        let _ = self.stop.wait(self.args.seconds.0);
        let mut found = network.end(talk)?;
        lines.append(&mut found.lines);
        Ok(Some(NetworkFound { lines, held, ..found }))
    }

    /// Has the guest tell what it has done, and switches it off.
    fn account(
        &self,
        moved: &Moved,
        source: &mut Side,
        destination: &mut Side,
        talk: &mut Talk,
    ) -> Account {
        let console = match &moved.whereabouts {
            Whereabouts::Destination => &destination.console,
            Whereabouts::Source(_) => &source.console,
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
            let oops = "run dmesg | grep -E 'Oops|BUG:|Call trace|I/O error|EXT[0-9]-fs error|soft lockup'";
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
        moved: &Moved,
        account: &Account,
        lines: &[memtwin_migrate::console::Line],
        network: Option<NetworkFound>,
        talk: &mut Talk,
    ) -> Result<Found, Failure> {
        let name = self.stage.name.clone();
        let trial = |part: &str| Trial::new(format!("migrate/{part}"), &name, &Layout::default());
        let pulse = beat::pulse(&beat::beats(lines), moved.began, BEAT);
        let clocks_ = clocks::clocks(moved, pulse.as_ref(), &network.clone().unwrap_or_default());
        let mut found = Found { closing: judge::closing(moved), ..Found::default() };
        let held = network.as_ref().map_or(Duration::ZERO, |network| network.held);
        found.closing.extend(clocks::lines(&clocks_, moved.pause, held));
        found.cases.extend(judge::ram(&name, moved));
        talk.say("checking the guest's disk");
        found.cases.push(judge::disk(self.stage, trial("disk"), lines, &mut found.closing, talk));
        found.cases.push(judge::guest(
            trial("guest"),
            moved,
            account,
            pulse.as_ref(),
            &mut found.closing,
        ));
        found.cases.push(match &network {
            None => Case::skipped(
                "migrate/network",
                &name,
                "no network between two QEMUs on one machine",
            ),
            Some(NetworkFound { wrong: Some(why), .. }) => trial("network").differs(why),
            Some(_) => trial("network").judged(Vec::new(), Default::default()),
        });
        found.closing.extend(network.into_iter().flat_map(|network| network.lines));
        let failed = match &moved.whereabouts {
            Whereabouts::Destination => None,
            Whereabouts::Source(why) | Whereabouts::Nowhere(why) => Some(why),
        };
        match failed {
            Some(Why::NotConverged) => {
                found.not_converged = true;
                let limit =
                    self.args.downtime_limit.map_or(Duration::from_millis(300), |limit| limit.0);
                let advice = moved.course.advice(limit).map(|advice| advice.lines());
                found.closing.extend(advice.unwrap_or_default());
            }
            Some(Why::Interrupted) => {
                found.closing.push("interrupted: the guest ran on at the source".to_owned())
            }
            _ => {}
        }
        found.migration = Some(judge::migration(moved, account, clocks_));
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
