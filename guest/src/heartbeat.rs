//! A heartbeat that notices its own gaps: a pause of the whole machine, such as the last phase of a
//! migration, shows as a jump of CLOCK_MONOTONIC between two beats.

use std::time::Duration;

/// Notices when two beats are further apart than they should be.
#[derive(Clone, Copy, Debug)]
pub struct Gaps {
    limit: Duration,
    last: Option<Duration>,
}

impl Gaps {
    /// Beats come at every interval; half as much again is a gap.
    pub fn new(interval: Duration) -> Self {
        Self { limit: interval.saturating_mul(3) / 2, last: None }
    }

    /// A beat at this time: how long after the one before it, if that is a gap.
    pub fn beat(&mut self, now: Duration) -> Option<Duration> {
        let apart = now.saturating_sub(self.last.replace(now).unwrap_or(now));
        (apart > self.limit).then_some(apart)
    }
}

/// The largest time between two looks at the clock, for each line that is printed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Largest {
    last: Option<Duration>,
    largest: Duration,
}

impl Largest {
    /// A look at the clock.
    pub fn look(&mut self, now: Duration) {
        let apart = now.saturating_sub(self.last.replace(now).unwrap_or(now));
        self.largest = self.largest.max(apart);
    }

    /// The largest since this was asked last.
    pub fn take(&mut self) -> Duration {
        std::mem::take(&mut self.largest)
    }
}

/// A line of the heartbeat: `heartbeat 12 monotonic 34.567890 wall 1412899200.123456`, the times in
/// seconds, and in the fine mode ` largest 1.234 ms`.
pub fn line(n: u64, monotonic: Duration, wall: Duration, largest: Option<Duration>) -> String {
    let seconds = |time: Duration| format!("{}.{:06}", time.as_secs(), time.subsec_micros());
    let largest = largest.map(|gap| format!(" largest {:.3} ms", gap.as_secs_f64() * 1e3));
    let (monotonic, wall) = (seconds(monotonic), seconds(wall));
    format!("heartbeat {n} monotonic {monotonic} wall {wall}{}", largest.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn only_a_gap_is_one() {
        let mut gaps = Gaps::new(1000 * MS);
        assert_eq!(gaps.beat(5000 * MS), None, "nothing was before the first");
        assert_eq!(gaps.beat(6000 * MS), None);
        assert_eq!(gaps.beat(7500 * MS), None);
        assert_eq!(gaps.beat(9001 * MS), Some(1501 * MS));
        assert_eq!(gaps.beat(10_000 * MS), None);
    }

    #[test]
    fn the_largest_is_that_of_one_line() {
        let mut largest = Largest::default();
        for now in [10, 11, 14, 15] {
            largest.look(now * MS);
        }
        assert_eq!(largest.take(), 3 * MS);
        // From the last look of the line before.
        largest.look(17 * MS);
        assert_eq!(largest.take(), 2 * MS);
    }

    #[test]
    fn a_line_has_a_counter_and_both_clocks() {
        let (monotonic, wall) = (Duration::from_micros(34_567_890), Duration::from_millis(1500));
        let plain = "heartbeat 12 monotonic 34.567890 wall 1.500000";
        assert_eq!(line(12, monotonic, wall, None), plain);
        assert_eq!(line(12, monotonic, wall, Some(2 * MS)), format!("{plain} largest 2.000 ms"));
    }
}
