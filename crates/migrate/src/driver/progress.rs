//! The course of a migration, round by round, as `query-migrate` tells it from outside: a round ends
//! when QEMU has collected its dirty log once more (`dirty-sync-count`).

use memtwin_qemu::{Migration, RamCounters};
use std::time::{Duration, Instant};

/// A round of pre-copy, as far as can be seen from outside: rounds that are shorter than the time
/// between two looks become one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PrecopyRound {
    /// Its number; 0 is the one with all of RAM.
    pub n: u64,
    /// Pages that were sent whole.
    pub pages: u64,
    /// Pages that were sent as one byte.
    pub zero_pages: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// How long it took.
    pub took: Duration,
    /// Pages per second that the guest dirtied, by QEMU's last estimate in it.
    pub dirty_rate: u64,
    /// Bytes that were still dirty when it was last seen.
    pub remaining: u64,
}

impl PrecopyRound {
    /// Bytes per second.
    pub fn rate(&self) -> f64 {
        self.bytes as f64 / self.took.as_secs_f64().max(1e-6)
    }
}

/// All rounds.
#[derive(Clone, Debug, Default)]
pub struct MigrationProgress {
    /// Those that have ended.
    pub rounds: Vec<PrecopyRound>,
    /// What QEMU said last.
    pub last: Migration,
    begun: Option<(Instant, RamCounters)>,
    seen: Option<(Instant, RamCounters)>,
    /// Bytes that were dirty when a round ended, as soon as that was seen: what the next begins with.
    pub(crate) dirty_again: Vec<u64>,
}

impl MigrationProgress {
    /// Looks at what QEMU says now. Returns the round that has ended, if one has.
    pub fn see(&mut self, now: Instant, migration: Migration) -> Option<PrecopyRound> {
        // One that was cancelled has no counters any more; the last ones stay.
        let before = self.last.ram;
        self.last = migration;
        let Some(ram) = self.last.ram else {
            self.last.ram = before;
            return None;
        };
        let (began, base) = *self.begun.get_or_insert((now, RamCounters::default()));
        // The first collection is that of all pages, and is made before anything is sent.
        let is_next = ram.dirty_sync_count > base.dirty_sync_count.max(1);
        self.seen = Some((now, ram));
        if !is_next {
            return None;
        }
        self.begun = Some((now, ram));
        self.dirty_again.push(ram.remaining);
        Some(self.enter(began, base, now, ram))
    }

    /// Closes the last round. Returns it, if something was sent in it.
    pub fn close(&mut self) -> Option<PrecopyRound> {
        let ((began, base), (now, ram)) = (self.begun.take()?, self.seen.take()?);
        (ram.transferred > base.transferred).then(|| self.enter(began, base, now, ram))
    }

    fn enter(
        &mut self,
        began: Instant,
        base: RamCounters,
        now: Instant,
        ram: RamCounters,
    ) -> PrecopyRound {
        let round = PrecopyRound {
            n: self.rounds.len() as u64,
            pages: ram.normal.saturating_sub(base.normal),
            zero_pages: ram.duplicate.saturating_sub(base.duplicate),
            bytes: ram.transferred.saturating_sub(base.transferred),
            took: now.saturating_duration_since(began),
            dirty_rate: ram.dirty_pages_rate,
            remaining: ram.remaining,
        };
        self.rounds.push(round);
        round
    }

    /// Bytes sent in all.
    pub fn bytes(&self) -> u64 {
        self.last.ram.map_or(0, |ram| ram.transferred)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn told(sync: u64, transferred: u64, normal: u64) -> Migration {
        let ram = RamCounters {
            dirty_sync_count: sync,
            transferred,
            normal,
            page_size: 4096,
            ..RamCounters::default()
        };
        Migration {
            ram: Some(RamCounters { dirty_pages_rate: 1000, mbps: 8.0, remaining: 1 << 20, ..ram }),
            ..Migration::default()
        }
    }

    #[test]
    fn a_round_ends_with_the_next_collection() {
        let (mut course, t) = (MigrationProgress::default(), Instant::now());
        let at = |s| t + Duration::from_secs(s);
        assert_eq!(course.see(at(0), told(1, 0, 0)), None);
        assert_eq!(course.see(at(1), told(1, 100, 1)), None);
        let first = course.see(at(2), told(2, 250, 2)).unwrap();
        assert_eq!((first.n, first.bytes, first.pages, first.took.as_secs()), (0, 250, 2, 2));
        // Two collections between two looks are one round.
        let second = course.see(at(5), told(4, 400, 9)).unwrap();
        assert_eq!((second.n, second.bytes, second.pages, second.took.as_secs()), (1, 150, 7, 3));
        assert_eq!(course.see(at(6), told(4, 401, 9)), None);
        assert_eq!(course.close().unwrap().bytes, 1);
        assert_eq!((course.close(), course.rounds.len(), course.bytes()), (None, 3, 401));
    }
}
