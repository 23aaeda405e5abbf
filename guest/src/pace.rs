//! The pace of work that is due at every interval, and what became of it.

use std::time::Duration;

/// When a batch of work is due. All times are since the beginning.
#[derive(Clone, Copy, Debug)]
pub struct LoadPace {
    interval: Duration,
    due: Duration,
}

impl LoadPace {
    /// The first batch is due at once. An interval of zero is no pace: the next is always due.
    pub fn new(interval: Duration) -> Self {
        Self { interval, due: Duration::ZERO }
    }

    /// When the next batch is due.
    pub fn due(&self) -> Duration {
        self.due
    }

    /// A batch was done at `now`: the next one is due at the first interval that is not over yet.
    /// Returns how many intervals went by without a batch of their own; nobody catches up on them.
    pub fn done(&mut self, now: Duration) -> u64 {
        if self.interval.is_zero() {
            self.due = now;
            return 0;
        }
        // 64 bits of nanoseconds are more than 500 years.
        let interval = self.interval.as_nanos() as u64;
        let missed = now.saturating_sub(self.due).as_nanos() as u64 / interval;
        let next = interval.saturating_mul(missed + 1);
        self.due = self.due.saturating_add(Duration::from_nanos(next));
        missed
    }
}

/// What was really achieved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AchievedLoad {
    /// Batches done.
    pub batches: u64,
    /// Pages dirtied.
    pub pages: u64,
    /// Intervals that went by without a batch.
    pub missed: u64,
    /// The longest time from when a batch was due until it was done.
    pub worst: Duration,
}

impl AchievedLoad {
    /// Adds a batch that was due and done at these times.
    pub fn add(&mut self, pages: u64, due: Duration, done: Duration, missed: u64) {
        self.batches += 1;
        self.pages += pages;
        self.missed += missed;
        self.worst = self.worst.max(done.saturating_sub(due));
    }

    /// Adds another account.
    pub fn merge(&mut self, other: &Self) {
        self.batches += other.batches;
        self.pages += other.pages;
        self.missed += other.missed;
        self.worst = self.worst.max(other.worst);
    }

    /// A line about it, given the time that it covers.
    pub fn line(&self, covers: Duration) -> String {
        let per_second = |n: u64| n as f64 / covers.as_secs_f64().max(1e-9);
        format!(
            "{:.1} batches/s {:.0} pages/s missed {} stall {:.1} ms",
            per_second(self.batches),
            per_second(self.pages),
            self.missed,
            self.worst.as_secs_f64() * 1e3
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_batch_in_time_misses_nothing() {
        let mut pace = LoadPace::new(50 * MS);
        assert_eq!(pace.due(), Duration::ZERO);
        assert_eq!(pace.done(10 * MS), 0);
        assert_eq!(pace.due(), 50 * MS);
        assert_eq!(pace.done(99 * MS), 0);
        assert_eq!(pace.due(), 100 * MS);
    }

    #[test]
    fn a_late_batch_misses_the_intervals_that_are_over() {
        let mut pace = LoadPace::new(50 * MS);
        // Due at 0, done at 120: those of 50 and 100 had no batch of their own.
        assert_eq!(pace.done(120 * MS), 2);
        assert_eq!(pace.due(), 150 * MS);
    }

    #[test]
    fn without_an_interval_it_is_always_time() {
        let mut pace = LoadPace::new(Duration::ZERO);
        assert_eq!(pace.done(7 * MS), 0);
        assert_eq!(pace.due(), 7 * MS);
    }

    #[test]
    fn an_account_keeps_the_worst() {
        let mut second = AchievedLoad::default();
        second.add(2048, Duration::ZERO, 3 * MS, 0);
        second.add(2048, 50 * MS, 170 * MS, 2);
        let mut all = AchievedLoad { worst: 500 * MS, ..AchievedLoad::default() };
        all.merge(&second);
        assert_eq!(all, AchievedLoad { batches: 2, pages: 4096, missed: 2, worst: 500 * MS });
        let line = second.line(Duration::from_secs(2));
        assert_eq!(line, "1.0 batches/s 2048 pages/s missed 2 stall 120.0 ms");
    }

    proptest! {
        #[test]
        fn every_interval_has_a_batch_or_is_missed(
            interval in 1u64..1000,
            took in proptest::collection::vec(0u64..5000, 1..50),
        ) {
            let mut pace = LoadPace::new(interval as u32 * MS);
            let mut now = 0u64;
            let (mut batches, mut missed) = (0, 0);
            for took in took {
                now = now.max(pace.due().as_millis() as u64) + took;
                missed += pace.done(Duration::from_millis(now));
                batches += 1;
            }
            prop_assert_eq!(pace.due().as_millis() as u64, (batches + missed) * interval);
            prop_assert!(pace.due().as_millis() as u64 > now);
            prop_assert!(pace.due().as_millis() as u64 - now <= interval);
        }
    }
}
