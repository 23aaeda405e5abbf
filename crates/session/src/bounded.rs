//! A memory that is read only until its guest must run again.

use memtwin_pages::Image;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What is read of a guest that stands still, and by when.
#[derive(Debug)]
pub(crate) struct PauseBound {
    by: Option<Instant>,
    began: Instant,
    /// How many bytes there are to be read, and were read.
    all: u64,
    done: AtomicU64,
}

impl PauseBound {
    /// This many bytes are to be read, by then.
    pub(crate) fn new(all: u64, by: Option<Instant>) -> Self {
        Self { by, began: Instant::now(), all, done: AtomicU64::new(0) }
    }

    /// A memory whose reading ends at the bound.
    pub(crate) fn over<'m, M: Image>(&'m self, memory: &'m M) -> Bounded<'m, M> {
        Bounded { memory, bound: self }
    }

    /// What the bound that was asked for comes to: `None` if it was kept.
    pub(crate) fn exceeded(&self, max_pause: Duration) -> Option<String> {
        if !self.is_over() {
            return None;
        }
        let done = self.done.load(Ordering::Relaxed);
        // As fast as it went, and half as much again: what it needed before there was anything to read
        // is in the bound.
        let share = self.all as f64 / done.max(1) as f64;
        let needed = max_pause.mul_f64(share.clamp(1.0, 10_000.0) * 1.5).as_secs_f64();
        Some(format!(
            "{} of {} MiB of the guest's memory could be compared while it stood still, then it was let run \
             (--max-pause {} ms); --max-pause {}ms would do",
            done >> 20,
            self.all.div_ceil(1 << 20),
            max_pause.as_millis(),
            (needed * 10.0).ceil() as u64 * 100
        ))
    }

    /// How long reading has taken.
    pub(crate) fn took(&self) -> Duration {
        self.began.elapsed()
    }

    fn is_over(&self) -> bool {
        self.by.is_some_and(|by| Instant::now() >= by)
    }
}

/// See [`PauseBound::over`].
#[derive(Debug)]
pub(crate) struct Bounded<'m, M> {
    memory: &'m M,
    bound: &'m PauseBound,
}

impl<M: Image> Image for Bounded<'_, M> {
    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        if self.bound.is_over() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the guest must run again"));
        }
        self.memory.read_at(offset, into)?;
        self.bound.done.fetch_add(into.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_after_the_bound_and_the_advice_is_more_than_it_took() {
        let memory = vec![7; 4 << 20];
        let within =
            PauseBound::new(4 << 20, Instant::now().checked_add(Duration::from_secs(3600)));
        let mut into = vec![0; 1 << 20];
        within.over(&memory).read_at(0, &mut into).unwrap();
        assert_eq!((into[0], within.exceeded(Duration::from_secs(3600))), (7, None));
        let unbounded = PauseBound::new(4 << 20, None);
        unbounded.over(&memory).read_at(0, &mut into).unwrap();
        assert_eq!(unbounded.exceeded(Duration::ZERO), None);

        let over = PauseBound { by: Some(Instant::now()), ..within };
        let error = over.over(&memory).read_at(0, &mut into).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let said = over.exceeded(Duration::from_millis(250)).unwrap();
        assert!(
            said.contains("1 of 4 MiB") && said.contains("--max-pause 1500ms would do"),
            "{said}"
        );
    }
}
