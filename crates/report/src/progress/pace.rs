//! When to show something again. Events come up to some hundred thousand times a second, where
//! even asking for the time would be felt.

use std::time::{Duration, Instant};

/// The clock is asked at least this often while events come fast.
const FINE: Duration = Duration::from_millis(5);

/// At most this many events pass between two looks at the clock.
const MOST: u32 = 256;

/// Lets something happen once per interval.
#[derive(Debug)]
pub(super) struct UpdateLimiter {
    every: Duration,
    shown: Option<Instant>,
    looked: Option<Instant>,
    stride: u32,
    left: u32,
}

impl UpdateLimiter {
    pub(super) fn new(every: Duration) -> Self {
        Self { every, shown: None, looked: None, stride: 1, left: 0 }
    }

    /// The time, if it is time to show something: for events that are not many.
    pub(super) fn look(&mut self, now: Instant) -> Option<Instant> {
        let due = self.shown.is_none_or(|shown| now.duration_since(shown) >= self.every);
        if due {
            self.shown = Some(now);
        }
        due.then_some(now)
    }

    /// As [`UpdateLimiter::look`], for events that may be many: mostly it only counts. The faster they
    /// come, the more go by before the clock is asked again.
    pub(super) fn glance(&mut self, clock: impl FnOnce() -> Instant) -> Option<Instant> {
        if self.left > 0 {
            self.left -= 1;
            return None;
        }
        let now = clock();
        let since = self.looked.replace(now).map(|looked| now.duration_since(looked));
        self.stride = match since {
            Some(since) if since < FINE => (self.stride * 2).min(MOST),
            _ => 1,
        };
        self.left = self.stride - 1;
        self.look(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This many events, so far apart: how often the clock was asked, and how often it was time.
    fn run(pace: &mut UpdateLimiter, events: u32, apart: Duration) -> (u32, u32) {
        let (began, mut asked, mut shown) = (Instant::now(), 0, 0);
        for i in 0..events {
            let clock = || {
                asked += 1;
                began + apart * i
            };
            shown += u32::from(pace.glance(clock).is_some());
        }
        (asked, shown)
    }

    #[test]
    fn fast_events_hardly_ask_for_the_time() {
        let mut pace = UpdateLimiter::new(Duration::from_millis(100));
        let (asked, shown) = run(&mut pace, 1_000_000, Duration::from_micros(1));
        assert!(asked < 1_000_000 / 100, "asked {asked} times");
        assert!((10..=11).contains(&shown), "shown {shown} times in a second");
    }

    #[test]
    fn slow_events_are_each_looked_at() {
        let mut pace = UpdateLimiter::new(Duration::from_millis(100));
        assert_eq!(run(&mut pace, 50, Duration::from_millis(100)), (50, 50));
    }

    #[test]
    fn events_that_turn_slow_are_soon_looked_at_again() {
        let mut pace = UpdateLimiter::new(Duration::from_millis(100));
        run(&mut pace, 100_000, Duration::from_micros(1));
        let (asked, _) = run(&mut pace, 2 * MOST, Duration::from_millis(100));
        assert!(asked >= MOST, "asked {asked} times");
    }
}
