//! A request to stop, which ends every wait.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Set once (by a signal, say), seen by everyone who holds a clone.
#[derive(Clone, Debug, Default)]
pub struct CancelToken {
    shared: Arc<(Mutex<bool>, Condvar)>,
}

impl CancelToken {
    /// Asks everyone to stop, and wakes who sleeps in [`CancelToken::wait`].
    pub fn set(&self) {
        *self.lock() = true;
        self.shared.1.notify_all();
    }

    /// Whether a stop was asked for.
    pub fn is_set(&self) -> bool {
        *self.lock()
    }

    /// Sleeps for `time`, or less if a stop is asked for. Returns whether it was.
    pub fn wait(&self, time: Duration) -> bool {
        let Some(end) = Instant::now().checked_add(time) else {
            return self.wait(Duration::from_secs(3600));
        };
        let mut set = self.lock();
        while !*set {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            set = self.shared.1.wait_timeout(set, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *set
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_ends_a_wait() {
        let stop = CancelToken::default();
        assert!(!stop.wait(Duration::from_millis(1)));
        let waker = stop.clone();
        let thread = std::thread::spawn(move || waker.set());
        assert!(stop.wait(Duration::from_secs(600)));
        thread.join().unwrap();
        assert!(stop.is_set());
    }
}
