//! What can go wrong with a machine.

use crate::command::indented;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a machine does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// It can't be started.
    #[error("can't start {program}: {error}")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        error: io::Error,
    },
    /// Its console can't be kept.
    #[error("{}: {error}", path.display())]
    Log {
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It ended.
    #[error("the machine ended ({status}) before {what}; its console is in {}{}", log.display(), indented(last))]
    Ended {
        /// What was waited for.
        what: String,
        /// How it ended.
        status: String,
        /// Its console.
        log: PathBuf,
        /// The last lines of it.
        last: Vec<String>,
    },
    /// Its kernel gave up.
    #[error("the guest's kernel panicked before {what}; its console is in {}{}", log.display(), indented(last))]
    Panicked {
        /// What was waited for.
        what: String,
        /// Its console.
        log: PathBuf,
        /// The last lines of it.
        last: Vec<String>,
    },
    /// It took too long.
    #[error("no {what} within {} s; the machine's console is in {}{}", limit.as_secs(), log.display(), indented(last))]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
        /// Its console.
        log: PathBuf,
        /// The last lines of it.
        last: Vec<String>,
    },
    /// An order was not carried out well.
    #[error("'{order}' returned {rc}{}", indented(output))]
    Refused {
        /// The order.
        order: String,
        /// What it returned.
        rc: i32,
        /// What it said.
        output: Vec<String>,
    },
    /// The wait is not wanted any more.
    #[error("interrupted")]
    Cancelled,
}

impl MachineError {
    /// Without some of the lines that the machine said last.
    #[must_use]
    pub(crate) fn without(mut self, left_out: impl Fn(&str) -> bool) -> Self {
        if let Self::Ended { last, .. }
        | Self::Panicked { last, .. }
        | Self::TimedOut { last, .. } = &mut self
        {
            last.retain(|line| !left_out(line));
        }
        self
    }
}
