//! What the guest does: it is put to work before it moves, and tells afterwards what it has done.

use super::{Hop, MigrationExperiment, ORDER_TIMEOUT, SilentProgress};
use crate::config::GuestLoad;
use crate::driver::GuestLocation;
use crate::guest::console::{Console, ConsoleError};
use crate::guest::heartbeat;
use crate::side::Side;
use crate::verdict::judge::GuestReport;
use memtwin_lab::Progress;
use memtwin_replicate::CancelToken;
use memtwin_report::Failure;
use std::time::Duration;

/// How often the heart beats.
pub(crate) const BEAT_INTERVAL: Duration = Duration::from_millis(200);
/// Where `diskload` writes.
pub(crate) const WRITTEN: &str = "/data/written";

impl MigrationExperiment<'_> {
    /// Puts the guest to work.
    pub(crate) fn load(
        &self,
        console: &Console,
        progress: &mut dyn Progress,
    ) -> Result<(), Failure> {
        let beat = BEAT_INTERVAL.as_millis();
        let mut orders =
            self.environment.network.as_ref().map_or_else(Vec::new, |network| network.orders());
        orders.push(format!("show beat writeout --fine --interval {beat}"));
        orders.push(format!("show disk diskload {WRITTEN}"));
        for (n, load) in self.loads().iter().enumerate() {
            progress.say(&format!("guest: dirtyram {load}"));
            orders.push(format!("start load{n} dirtyram {load}"));
        }
        for order in orders {
            console.succeed(&order, ORDER_TIMEOUT, progress).map_err(Failure::environment)?;
        }
        let begun = |line: &str| line.starts_with("heartbeat ");
        console
            .wait(0, "first heartbeat", ORDER_TIMEOUT, progress, begun)
            .map_err(Failure::environment)?;
        for n in 0..self.loads().len() {
            // It has all its pages once it has said the first word.
            let order = format!(
                "run for i in $(seq 600); do [ -s /run/load{n}.log ] && exit 0; usleep 200000; done; exit 1"
            );
            console.succeed(&order, ORDER_TIMEOUT, progress).map_err(Failure::environment)?;
        }
        Ok(())
    }

    /// The parameters of each copy of `dirtyram`.
    pub(crate) fn loads(&self) -> Vec<String> {
        match &self.config.load {
            GuestLoad::Idle => return Vec::new(),
            GuestLoad::Given(loads) => return loads.clone(),
            GuestLoad::Scaled => {}
        }
        // 1600 MiB of a guest's of 2 GiB and 2048 pages of them: half of this guest's memory, as a small
        // one's kernel takes a larger part, and as many of its pages in proportion.
        let pages = ((self.environment.source.guest.memory << 20) / 2) >> 12;
        vec![format!("{pages} {} 50", (pages * 2048 / 409_600).max(1))]
    }

    /// Has the guest tell what it has done, and switches it off.
    pub(crate) fn account(
        &self,
        hops: &[Hop],
        here: &mut Side,
        there: &mut Side,
        progress: &mut dyn Progress,
    ) -> GuestReport {
        let Some(last) = hops.last() else { return GuestReport::default() };
        let console = match &last.moved.location {
            GuestLocation::Destination => &there.console,
            GuestLocation::Source(_) => &here.console,
            GuestLocation::Nowhere(why) => {
                return GuestReport {
                    trouble: Some(format!("the guest runs nowhere: {why}")),
                    ..GuestReport::default()
                };
            }
        };
        if self.environment.network.is_none() {
            let _ = self.wait(self.config.work_time);
        }
        self.told(console, progress)
    }

    /// Has the guest of this console tell it.
    pub(crate) fn told(&self, console: &Console, progress: &mut dyn Progress) -> GuestReport {
        let mut account = GuestReport::default();
        // Interrupted or not: it is bounded, and tells what there is to tell.
        let mut hush = SilentProgress(&CancelToken::default());
        let mut ask = || -> Result<(), ConsoleError> {
            for n in 0..self.loads().len() {
                let (_, said) =
                    console.order(&format!("stop load{n}"), ORDER_TIMEOUT, &mut hush)?;
                account.loads.push(heartbeat::load_seconds(said.iter().map(String::as_str)));
                account
                    .load_said
                    .extend(said.into_iter().filter(|line| line.starts_with("dirtyram total")));
            }
            console.order("stop disk", ORDER_TIMEOUT, &mut hush)?;
            console.order("stop beat", ORDER_TIMEOUT, &mut hush)?;
            let oops = "run dmesg | grep -E 'Oops|BUG:|Call trace|I/O error|EXT[0-9]-fs error|soft lockup|detected stall'";
            let (_, said) = console.order(oops, ORDER_TIMEOUT, &mut hush)?;
            account.oops = said.into_iter().filter(|line| line.starts_with('[')).collect();
            console.order("run sync", ORDER_TIMEOUT, &mut hush)?;
            Ok(())
        };
        if let Err(error) = ask() {
            account.trouble = Some(error.to_string());
        }
        // Without a word: it ends with QEMU.
        progress.say("the guest has told its story");
        account
    }
}
