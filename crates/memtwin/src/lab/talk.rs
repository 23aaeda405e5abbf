//! What goes on, as lines on standard error.

use memtwin_lab::Progress;
use memtwin_replicate::Stop;
use std::time::Instant;

/// Tells it, unless told to be quiet.
#[derive(Clone, Debug)]
pub(crate) struct Talk {
    quiet: bool,
    began: Instant,
    stop: Stop,
}

impl Talk {
    pub(crate) fn new(quiet: bool, stop: &Stop) -> Self {
        Self { quiet, began: Instant::now(), stop: stop.clone() }
    }
}

impl Progress for Talk {
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
