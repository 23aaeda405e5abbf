//! What is told while a guest moves: a line for each round, and one now and then.

use crate::driver::{MigrationEvent, PrecopyRound};
use memtwin_lab::Progress;
use memtwin_qemu::Migration;
use std::time::{Duration, Instant};

/// How often it is told how far it is.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Tells it.
pub(crate) struct EventReporter<'t> {
    progress: &'t mut dyn Progress,
    last: Instant,
}

impl<'t> EventReporter<'t> {
    pub(crate) fn new(progress: &'t mut dyn Progress) -> Self {
        Self { progress, last: Instant::now() }
    }

    pub(crate) fn hear(&mut self, event: &MigrationEvent<'_>) {
        match event {
            MigrationEvent::Round(round) => self.progress.say(&round_line(round)),
            MigrationEvent::Look(migration) if self.last.elapsed() >= LOOK_INTERVAL => {
                self.look(migration)
            }
            MigrationEvent::Arrived => {
                self.progress.say("arrived: the guest stands still on both sides")
            }
            MigrationEvent::BrokenOff => {
                self.progress.say("postcopy broke off: taking it up again")
            }
            MigrationEvent::Judging => {
                self.progress.say("comparing the memory of both sides, page by page")
            }
            MigrationEvent::Resumed => self.progress.say("the guest runs at the destination"),
            MigrationEvent::Look(_) => return,
        }
        self.last = Instant::now();
    }

    /// A line besides.
    pub(crate) fn say(&mut self, line: &str) {
        self.progress.say(line);
    }

    fn look(&mut self, migration: &Migration) {
        let Some(ram) = migration.ram else { return };
        let mb = |bytes: u64| bytes as f64 / 1e6;
        self.progress.say(&format!(
            "{}: {:.1} MB sent, {:.1} MB to go, {:.0} Mbit/s, the guest dirties {:.1} MB/s",
            migration.status,
            mb(ram.transferred),
            mb(ram.remaining),
            ram.mbps,
            mb(ram.dirty_pages_rate.saturating_mul(ram.page_size)),
        ));
    }
}

/// A round for a person.
pub(crate) fn round_line(round: &PrecopyRound) -> String {
    format!(
        "round {}: {} pages, {} of zeros, {:.1} MB in {:.1} s ({:.1} MB/s); {} pages/s dirtied",
        round.n,
        round.pages,
        round.zero_pages,
        round.bytes as f64 / 1e6,
        round.took.as_secs_f64(),
        round.rate() / 1e6,
        round.dirty_rate,
    )
}
