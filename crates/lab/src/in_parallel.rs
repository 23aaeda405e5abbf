//! Two pieces of work at once: one waits for the network, say, while the other computes.

use crate::Progress;
use std::panic::resume_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

/// The progress that both report to. It is cancelled when either has failed.
struct SharedProgress<'s, 'p> {
    progress: &'s Mutex<&'p mut dyn Progress>,
    failed: &'s AtomicBool,
}

impl Progress for SharedProgress<'_, '_> {
    fn say(&mut self, line: &str) {
        if let Ok(mut progress) = self.progress.lock() {
            progress.say(line);
        }
    }

    fn is_cancelled(&self) -> bool {
        // A panic in the other's progress has poisoned it.
        self.failed.load(Ordering::Relaxed)
            || self.progress.lock().map_or(true, |progress| progress.is_cancelled())
    }
}

/// Does both. When one fails the other is given up.
///
/// Errors: the one that failed first.
pub fn in_parallel<A: Send, B, E: Send>(
    progress: &mut dyn Progress,
    a: impl FnOnce(&mut dyn Progress) -> Result<A, E> + Send,
    b: impl FnOnce(&mut dyn Progress) -> Result<B, E>,
) -> Result<(A, B), E> {
    let (progress, failed) = (Mutex::new(progress), AtomicBool::new(false));
    let (progress, failed) = (&progress, &failed);
    let (a, b) = thread::scope(|scope| {
        let a = scope.spawn(|| attempt(SharedProgress { progress, failed }, a));
        let b = attempt(SharedProgress { progress, failed }, b);
        (a.join().unwrap_or_else(|panic| resume_unwind(panic)), b)
    });
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err((error, _)), Ok(_)) | (Ok(_), Err((error, _))) => Err(error),
        // The later one was given up for the earlier.
        (Err((a, failed_at)), Err((b, other_failed_at))) => {
            Err(if failed_at < other_failed_at { a } else { b })
        }
    }
}

/// Does one, and notes when it fails.
fn attempt<T, E>(
    mut progress: SharedProgress<'_, '_>,
    work: impl FnOnce(&mut dyn Progress) -> Result<T, E>,
) -> Result<T, (E, Instant)> {
    work(&mut progress).map_err(|error| {
        let failed_at = Instant::now();
        progress.failed.store(true, Ordering::Relaxed);
        (error, failed_at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Silent;
    use std::time::Duration;

    /// Goes on until it is given up.
    fn patient(progress: &mut dyn Progress) -> Result<(), &'static str> {
        while !progress.is_cancelled() {
            thread::sleep(Duration::from_millis(1));
        }
        Err("given up")
    }

    #[test]
    fn one_that_fails_ends_the_other_and_is_told() {
        let done = in_parallel(&mut Silent, |_| Ok::<_, ()>(1), |_| Ok("b"));
        assert_eq!(done.unwrap(), (1, "b"));
        let broken = |_: &mut dyn Progress| Err::<(), _>("broken");
        let silent = &mut Silent;
        for error in
            [in_parallel(silent, broken, patient), in_parallel(&mut Silent, patient, broken)]
        {
            assert_eq!(error.unwrap_err(), "broken");
        }
        // What comes after goes on.
        assert!(!silent.is_cancelled());
    }

    #[test]
    fn an_interrupt_ends_both() {
        struct Interrupted;
        impl Progress for Interrupted {
            fn say(&mut self, _: &str) {}
            fn is_cancelled(&self) -> bool {
                true
            }
        }
        assert_eq!(in_parallel(&mut Interrupted, patient, patient).unwrap_err(), "given up");
    }
}
