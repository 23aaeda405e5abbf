//! Two pieces of work at once: one waits for the network, say, while the other computes.

use super::talk::Talk;
use memtwin_report::Failure;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

/// Does both. When one fails the other is given up.
///
/// Errors: the one that failed first.
pub(crate) fn both<A: Send, B>(
    talk: &Talk,
    a: impl FnOnce(&mut Talk) -> Result<A, Failure> + Send,
    b: impl FnOnce(&mut Talk) -> Result<B, Failure>,
) -> Result<(A, B), Failure> {
    let failed = Arc::new(AtomicBool::new(false));
    let (a, b) = thread::scope(|scope| {
        let a = scope.spawn(|| one(talk, &failed, a));
        let b = one(talk, &failed, b);
        (a.join().unwrap_or_else(|panic| resume_unwind(panic)), b)
    });
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err((failure, _)), Ok(_)) | (Ok(_), Err((failure, _))) => Err(failure),
        // The later one was given up for the earlier.
        (Err((a, at)), Err((b, then))) => Err(if at < then { a } else { b }),
    }
}

/// Does one, and notes when it fails.
fn one<T>(
    talk: &Talk,
    failed: &Arc<AtomicBool>,
    work: impl FnOnce(&mut Talk) -> Result<T, Failure>,
) -> Result<T, (Failure, Instant)> {
    work(&mut talk.unless(failed)).map_err(|failure| {
        let at = Instant::now();
        failed.store(true, Ordering::Relaxed);
        (failure, at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_lab::Progress;
    use memtwin_replicate::Stop;
    use std::time::Duration;

    /// Goes on until it is given up.
    fn patient(talk: &mut Talk) -> Result<(), Failure> {
        while !talk.is_cancelled() {
            thread::sleep(Duration::from_millis(1));
        }
        Err(Failure::environment("given up"))
    }

    #[test]
    fn one_that_fails_ends_the_other_and_is_told() {
        let talk = Talk::new(true, &Stop::default());
        assert_eq!(both(&talk, |_| Ok(1), |_| Ok("b")).unwrap(), (1, "b"));
        let broken = |_: &mut Talk| -> Result<(), Failure> { Err(Failure::environment("broken")) };
        for failure in [both(&talk, broken, patient), both(&talk, patient, broken)] {
            assert_eq!(failure.unwrap_err().message, "broken");
        }
        // What comes after goes on.
        assert!(!talk.is_cancelled());
    }

    #[test]
    fn an_interrupt_ends_both() {
        let stop = Stop::default();
        stop.set();
        let failure = both(&Talk::new(true, &stop), patient, patient).unwrap_err();
        assert_eq!(failure.message, "given up");
    }
}
