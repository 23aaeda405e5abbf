//! The progress of many downloads, told now and then.

use crate::Progress;

/// Passes on one line in this many: a line for each package is too much.
pub(super) struct Thinned<'p> {
    progress: &'p mut dyn Progress,
    heard: u32,
}

/// One line in this many.
const THINNED: u32 = 25;

impl<'p> Thinned<'p> {
    pub(super) fn new(progress: &'p mut dyn Progress) -> Self {
        Self { progress, heard: 0 }
    }
}

impl Progress for Thinned<'_> {
    fn say(&mut self, line: &str) {
        self.heard += 1;
        if self.heard.is_multiple_of(THINNED) {
            self.progress.say(line);
        }
    }

    fn is_cancelled(&self) -> bool {
        self.progress.is_cancelled()
    }
}
