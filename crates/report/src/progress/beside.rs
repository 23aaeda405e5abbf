//! Standard error for others while a live line is on it.

use indicatif::ProgressBar;
use std::io::{self, Write};

/// Standard error; the live line, if there is one, is taken away while something is written and
/// put back after it.
#[derive(Clone, Debug)]
pub struct Stderr {
    bar: Option<ProgressBar>,
}

impl Stderr {
    pub(super) fn beside(bar: ProgressBar) -> Self {
        Self { bar: Some(bar) }
    }

    pub(super) fn alone() -> Self {
        Self { bar: None }
    }
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The whole of it: the line that is put back must not cut a record in two.
        let write = || io::stderr().lock().write_all(bytes);
        match &self.bar {
            Some(bar) => bar.suspend(write)?,
            None => write()?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
