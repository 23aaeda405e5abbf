//! The progress of long work, as lines on standard error with the seconds since its beginning.

use memtwin_lab::Progress;
use memtwin_replicate::CancelToken;
use std::time::Instant;

/// Says it, unless it is to be quiet.
#[derive(Clone, Debug)]
pub(crate) struct StderrProgress {
    quiet: bool,
    began: Instant,
    stop: CancelToken,
}

impl StderrProgress {
    pub(crate) fn new(quiet: bool, stop: &CancelToken) -> Self {
        Self { quiet, began: Instant::now(), stop: stop.clone() }
    }
}

impl Progress for StderrProgress {
    fn say(&mut self, line: &str) {
        if !self.quiet {
            let since = self.began.elapsed().as_secs_f64();
            crate::output::say(&format!("{since:6.1} s  {line}"));
        }
    }

    fn is_cancelled(&self) -> bool {
        self.stop.is_set()
    }
}

/// Notices to a person, as they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StderrNotices;

impl Progress for StderrNotices {
    fn say(&mut self, line: &str) {
        crate::output::say(line);
    }
}
