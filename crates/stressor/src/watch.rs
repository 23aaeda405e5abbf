//! Notices a writer that makes no progress: never a hang, never a pass.

use std::time::{Duration, Instant};

/// How long a writer that has something to do may go without a write. Generous, as the machine may
/// be busy; short enough that a run ends within seconds.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A writer that should write and does not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("writer {writer} made no progress for {seconds} s after {written} pages written")]
pub struct StalledWriter {
    /// Which writer.
    pub writer: usize,
    /// How many pages it had written.
    pub written: u64,
    /// For how long it has not written, in seconds.
    pub seconds: u64,
}

/// When each writer last got on.
#[derive(Debug)]
pub struct StallWatch {
    last: Vec<(u64, Instant)>,
}

impl StallWatch {
    /// Watches this many writers, from now on.
    pub fn new(writers: usize) -> Self {
        Self { last: vec![(0, Instant::now()); writers] }
    }

    /// Starts to count again, for all.
    pub fn reset(&mut self) {
        let now = Instant::now();
        self.last.iter_mut().for_each(|(_, since)| *since = now);
    }

    /// Looks at a writer. Errors if it was wanted to write and has not for too long.
    pub fn look(&mut self, writer: usize, wanted: bool, written: u64) -> Result<(), StalledWriter> {
        let (before, since) = &mut self.last[writer];
        if !wanted || written != *before {
            (*before, *since) = (written, Instant::now());
        }
        match since.elapsed() {
            idle if idle >= TIMEOUT => {
                Err(StalledWriter { writer, written, seconds: idle.as_secs() })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_wanted_writer_can_stall() {
        let mut watch = StallWatch::new(2);
        watch.last[0].1 -= TIMEOUT;
        watch.last[1].1 -= TIMEOUT;
        assert_eq!(watch.look(0, false, 0), Ok(()));
        assert_eq!(watch.look(1, true, 0).unwrap_err().writer, 1);
        assert_eq!(watch.look(1, true, 1), Ok(()));
        watch.last[1].1 -= TIMEOUT;
        watch.reset();
        assert_eq!(watch.look(1, true, 1), Ok(()));
    }
}
