//! Told to stop: SIGTERM and SIGINT, seen between two steps of the work.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The longest sleep before it is looked at again.
const SLICE: Duration = Duration::from_millis(50);

/// Whether somebody wants this program to end.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Listens to SIGTERM and SIGINT.
    ///
    /// Errors: the system refuses a handler.
    pub fn listen() -> io::Result<Self> {
        let stop = Self::default();
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
            signal_hook::flag::register(signal, Arc::clone(&stop.0))?;
        }
        Ok(stop)
    }

    /// Whether it is time to end.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sleeps until a point in time, or until told to stop.
    pub fn sleep_until(&self, until: Instant) {
        while !self.is_set() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(SLICE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_ends_a_sleep() {
        let stop = StopFlag::listen().unwrap();
        assert!(!stop.is_set());
        signal_hook::low_level::raise(signal_hook::consts::SIGTERM).unwrap();
        // An hour, were it not for the signal.
        stop.sleep_until(Instant::now() + Duration::from_secs(3600));
        assert!(stop.is_set());
    }
}
