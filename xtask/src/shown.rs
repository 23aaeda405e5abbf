//! What a build of the lab's says, on a terminal.

use crate::interrupt::Interrupt;
use memtwin_lab::Progress;

/// Progress on a terminal, given up when we are interrupted.
pub(crate) struct Shown<'a>(pub(crate) &'a Interrupt);

impl Progress for Shown<'_> {
    fn say(&mut self, line: &str) {
        eprintln!("{line}");
    }

    fn is_cancelled(&self) -> bool {
        self.0.is_set()
    }
}
