//! What the guest does: it is put to work before it moves, and tells afterwards what it has done.

use super::experiment::{Experiment, Hop, Hush, ORDER};
use super::judge::Account;
use crate::lab::talk::Talk;
use memtwin_lab::Progress;
use memtwin_migrate::guest::console::{Console, ConsoleError};
use memtwin_migrate::guest::heartbeat;
use memtwin_migrate::{GuestLocation, Side};
use memtwin_replicate::Stop;
use memtwin_report::Failure;
use std::time::Duration;

/// How often the heart beats.
pub(super) const BEAT: Duration = Duration::from_millis(200);
/// Where `diskload` writes.
pub(super) const WRITTEN: &str = "/data/written";

impl Experiment<'_> {
    /// Puts the guest to work.
    pub(super) fn load(&self, console: &Console, talk: &mut Talk) -> Result<(), Failure> {
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
    pub(super) fn loads(&self) -> Vec<String> {
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

    /// Has the guest tell what it has done, and switches it off.
    pub(super) fn account(
        &self,
        hops: &[Hop],
        here: &mut Side,
        there: &mut Side,
        talk: &mut Talk,
    ) -> Account {
        let Some(last) = hops.last() else { return Account::default() };
        let console = match &last.moved.location {
            GuestLocation::Destination => &there.console,
            GuestLocation::Source(_) => &here.console,
            GuestLocation::Nowhere(why) => {
                return Account {
                    trouble: Some(format!("the guest runs nowhere: {why}")),
                    ..Account::default()
                };
            }
        };
        if self.stage.network.is_none() {
            let _ = self.wait(self.args.seconds.0);
        }
        self.told(console, talk)
    }

    /// Has the guest of this console tell it.
    pub(super) fn told(&self, console: &Console, talk: &mut Talk) -> Account {
        let mut account = Account::default();
        // Interrupted or not: it is bounded, and tells what there is to tell.
        let mut hush = Hush(&Stop::default());
        let mut ask = || -> Result<(), ConsoleError> {
            for n in 0..self.loads().len() {
                let (_, said) = console.order(&format!("stop load{n}"), ORDER, &mut hush)?;
                account.loads.push(heartbeat::load_seconds(said.iter().map(String::as_str)));
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
}
