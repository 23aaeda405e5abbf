//! The guest's clocks.

use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// CLOCK_MONOTONIC, which goes on across a migration and is never set.
pub fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    // It is never negative, and has less than a second of nanoseconds.
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
}

/// The wall clock, since 1970. Zero on a machine that thinks it is earlier.
pub fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_goes_on() {
        let then = monotonic();
        std::thread::sleep(Duration::from_millis(1));
        assert!(monotonic() >= then + Duration::from_millis(1));
        assert!(wall() > Duration::from_secs(1_000_000_000));
    }
}
