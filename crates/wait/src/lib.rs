//! Waiting for something that another process or thread does, for so long at most.
//!
//! [`wait_until`] and [`wait_for`] look again and again; a loop that has more to decide keeps a [`Deadline`].
//! Each looks once more when the time is over, so that a machine that was busy is no reason to give up. A wait
//! that a stop must end is `CancelToken::wait` of `memtwin-replicate`.

#![forbid(unsafe_code)]

use std::thread;
use std::time::{Duration, Instant};

/// When a wait is over. A limit that no clock can reach is never over.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    began: Instant,
    limit: Duration,
}

impl Deadline {
    /// This long from now on.
    pub fn after(limit: Duration) -> Self {
        Self { began: Instant::now(), limit }
    }

    /// Whether it has passed.
    pub fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    /// How much time is left; zero when it has passed.
    pub fn left(&self) -> Duration {
        self.limit.saturating_sub(self.began.elapsed())
    }

    /// Sleeps this long, or for what is left.
    pub fn sleep(&self, interval: Duration) {
        thread::sleep(interval.min(self.left()));
    }
}

/// Looks each `interval` until something is so, for `limit` at most. Whether it is.
pub fn wait_until(limit: Duration, interval: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    wait_for(limit, interval, || is_so().then_some(())).is_some()
}

/// Looks each `interval` until there is something, for `limit` at most.
pub fn wait_for<T>(
    limit: Duration,
    interval: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> Option<T> {
    let deadline = Deadline::after(limit);
    loop {
        let is_last = deadline.is_over();
        match look() {
            Some(found) => return Some(found),
            None if is_last => return None,
            None => deadline.sleep(interval),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(1);

    #[test]
    fn what_comes_ends_the_wait_and_what_never_comes_ends_with_the_limit() {
        let mut looks = 0;
        let third = || {
            looks += 1;
            (looks == 3).then_some(looks)
        };
        assert_eq!(wait_for(LONG, SHORT, third), Some(3));
        assert!(!wait_until(SHORT, SHORT, || false));
    }

    /// Something that takes longer than the limit, and is so then.
    #[test]
    fn there_is_a_look_after_the_limit_and_one_without_time() {
        let mut looks = 0;
        assert!(wait_until(SHORT, SHORT, || {
            looks += 1;
            thread::sleep(5 * SHORT);
            looks == 2
        }));
        assert!(wait_until(Duration::ZERO, LONG, || true));
        assert!(!wait_until(Duration::ZERO, LONG, || false));
    }

    #[test]
    fn a_limit_without_end_is_never_over() {
        let deadline = Deadline::after(Duration::MAX);
        assert!(!deadline.is_over() && deadline.left() > LONG);
        let none = Deadline::after(Duration::ZERO);
        assert!(none.is_over() && none.left().is_zero());
    }
}
