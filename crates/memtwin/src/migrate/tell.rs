//! What is told while a guest moves: a line for each round, and one now and then.

use crate::lab::talk::Talk;
use memtwin_lab::Progress;
use memtwin_migrate::{MigrationEvent, PrecopyRound};
use memtwin_qemu::Migration;
use std::time::{Duration, Instant};

/// How often it is told how far it is.
const EVERY: Duration = Duration::from_secs(5);

/// Tells it.
pub(super) struct Tell<'t> {
    talk: &'t mut Talk,
    last: Instant,
}

impl<'t> Tell<'t> {
    pub(super) fn new(talk: &'t mut Talk) -> Self {
        Self { talk, last: Instant::now() }
    }

    pub(super) fn hear(&mut self, event: &MigrationEvent<'_>) {
        match event {
            MigrationEvent::Round(round) => self.talk.say(&line(round)),
            MigrationEvent::Look(migration) if self.last.elapsed() >= EVERY => self.look(migration),
            MigrationEvent::Arrived => {
                self.talk.say("arrived: the guest stands still on both sides")
            }
            MigrationEvent::BrokenOff => self.talk.say("postcopy broke off: taking it up again"),
            MigrationEvent::Judging => {
                self.talk.say("comparing the memory of both sides, page by page")
            }
            MigrationEvent::Resumed => self.talk.say("the guest runs at the destination"),
            MigrationEvent::Look(_) => return,
        }
        self.last = Instant::now();
    }

    /// A line besides.
    pub(super) fn say(&mut self, line: &str) {
        self.talk.say(line);
    }

    fn look(&mut self, migration: &Migration) {
        let Some(ram) = migration.ram else { return };
        let mb = |bytes: u64| bytes as f64 / 1e6;
        self.talk.say(&format!(
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
pub(super) fn line(round: &PrecopyRound) -> String {
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
