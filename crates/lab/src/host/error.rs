//! What can go wrong with a machine that is reached by commands.

use super::LineEnd;
use crate::command::{CommandError, indented};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

/// Why something could not be done on a machine.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The name says no machine.
    #[error("'{0}': expected local or ssh://[user@]host[:port]")]
    Name(String),
    /// The program that reaches it can't be started.
    #[error("{host}: can't start {program}: {error}")]
    Start {
        /// The machine.
        host: String,
        /// The program.
        program: String,
        /// What the system said.
        error: io::Error,
    },
    /// It is not reached, or is not any more.
    #[error(
        "{host}: no connection by ssh; does `ssh` reach it without a question?{}",
        indented(last)
    )]
    Unreachable {
        /// The machine.
        host: String,
        /// The last that ssh said.
        last: Vec<String>,
    },
    /// A line was not content.
    #[error("{host}: '{line}' returned {rc}{}", indented(last))]
    Failed {
        /// The machine.
        host: String,
        /// The line.
        line: String,
        /// What it returned; -1 if a signal ended it.
        rc: i32,
        /// The last that it said.
        last: Vec<String>,
    },
    /// A line took too long.
    #[error("{host}: '{line}' was not done after {} s{}", limit.as_secs(), indented(last))]
    TimedOut {
        /// The machine.
        host: String,
        /// The line.
        line: String,
        /// How long it was given.
        limit: Duration,
        /// The last that it said.
        last: Vec<String>,
    },
    /// A file here can't be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file could not be copied as a whole.
    #[error("{host}: {path} is not whole: expected {expected} bytes, got {got}")]
    Short {
        /// The machine.
        host: String,
        /// The file there.
        path: String,
        /// How long it is.
        expected: u64,
        /// How much of it came.
        got: u64,
    },
    /// Nobody listens on a socket there, or nobody can carry what is said.
    #[error("{host}: no connection to {socket}: {why}")]
    Connect {
        /// The machine.
        host: String,
        /// The socket.
        socket: String,
        /// What was said of it.
        why: String,
    },
    /// The work is not wanted any more.
    #[error("interrupted")]
    Cancelled,
}

impl HostError {
    /// Whether the work was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }

    /// What became of a line there.
    pub(crate) fn of_command(host: &str, line: &str, error: CommandError) -> Self {
        let (host, line) = (host.to_owned(), line.to_owned());
        match error {
            CommandError::Start { program, error } => Self::Start { host, program, error },
            CommandError::Wait { program, error } => Self::Start { host, program, error },
            CommandError::Failed { status, last, .. } => Self::returned(host, line, status, last),
            CommandError::TimedOut { limit, last, .. } => {
                Self::TimedOut { host, line, limit, last }
            }
            CommandError::Cancelled => Self::Cancelled,
        }
    }

    /// What a line, or ssh in its place, returned.
    pub(super) fn returned(
        host: String,
        line: String,
        status: ExitStatus,
        mut last: Vec<String>,
    ) -> Self {
        match LineEnd::of(&host, status) {
            LineEnd::Returned(rc) => Self::Failed { host, line, rc, last },
            LineEnd::Unknown if host == super::line_end::LOCAL_NAME => {
                Self::Failed { host, line, rc: -1, last }
            }
            LineEnd::Unknown => {
                if let Some(signal) = status.signal() {
                    last.push(format!("ssh was ended by signal {signal}"));
                }
                Self::Unreachable { host, last }
            }
        }
    }

    /// The program that was to reach it did not start.
    pub(super) fn starting(host: &str, command: &Command) -> impl FnOnce(io::Error) -> Self {
        let host = host.to_owned();
        let program = command.get_program().display().to_string();
        move |error| Self::Start { host, program, error }
    }

    /// An error about a file here.
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File { path, error }
    }
}
