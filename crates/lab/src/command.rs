//! Runs a program for this long at most, tells its lines, and leaves nothing of it behind.

mod group;
#[cfg(test)]
mod tests;

use crate::Progress;
use group::{From, Group, Input};
use std::collections::VecDeque;
use std::io;
use std::process::{Command, ExitStatus};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// How often it is seen whether the work is still wanted.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How many of its last lines an error shows.
const LAST: usize = 12;

/// Why a program's work is not done.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It is not there, or may not be run.
    #[error("can't start {program}: {error}")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        error: io::Error,
    },
    /// It was not content.
    #[error("{line}: {status}{}", indented(last))]
    Failed {
        /// The whole command.
        line: String,
        /// How it ended.
        status: ExitStatus,
        /// The last that it said.
        last: Vec<String>,
    },
    /// It took too long.
    #[error("{line}: killed: not done after {} s{}", limit.as_secs(), indented(last))]
    TimedOut {
        /// The whole command.
        line: String,
        /// How long it was given.
        limit: Duration,
        /// The last that it said.
        last: Vec<String>,
    },
    /// The work is not wanted any more.
    #[error("interrupted")]
    Cancelled,
    /// The system lost track of it.
    #[error("can't wait for {program}: {error}")]
    Wait {
        /// The program.
        program: String,
        /// What the system said.
        error: io::Error,
    },
}

/// Lines below a message.
pub(crate) fn indented(lines: &[String]) -> String {
    lines.iter().map(|line| format!("\n    {line}")).collect()
}

/// Whose lines are progress.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Show {
    /// All of them.
    All,
    /// Those on standard error.
    Complaints,
    /// None of them.
    Nothing,
}

/// Runs a program; what it says is progress.
pub(crate) fn run(
    command: &mut Command,
    limit: Duration,
    progress: &mut dyn Progress,
) -> Result<(), CommandError> {
    drive(command, limit, progress, Show::All, Input::None, &mut |_| false).map(|_| ())
}

/// Runs a program for what it says on standard output.
pub(crate) fn output(
    command: &mut Command,
    limit: Duration,
    progress: &mut dyn Progress,
) -> Result<String, CommandError> {
    drive(command, limit, progress, Show::Nothing, Input::None, &mut |_| false)
}

/// The same for a program that takes the end of its standard input for the end of its work. Each line of
/// standard output is `heard` when it comes, and is no part of what is returned if that takes it.
pub(crate) fn output_with_input(
    command: &mut Command,
    limit: Duration,
    progress: &mut dyn Progress,
    heard: &mut dyn FnMut(&str) -> bool,
) -> Result<String, CommandError> {
    drive(command, limit, progress, Show::Nothing, Input::Open, heard)
}

/// For such a program; what it complains of is progress.
pub(crate) fn tell_with_input(
    command: &mut Command,
    limit: Duration,
    progress: &mut dyn Progress,
) -> Result<String, CommandError> {
    drive(command, limit, progress, Show::Complaints, Input::Open, &mut |_| false)
}

fn drive(
    command: &mut Command,
    limit: Duration,
    progress: &mut dyn Progress,
    show: Show,
    input: Input,
    heard: &mut dyn FnMut(&str) -> bool,
) -> Result<String, CommandError> {
    let line = shown(command);
    let began = Instant::now();
    let mut group = Group::start(command, input)?;
    let lines = group.lines();
    let mut stdout = String::new();
    let (mut said_last, mut complained_last) = (Last::default(), Last::default());
    loop {
        match lines.recv_timeout(POLL_INTERVAL) {
            Ok((from, said)) => {
                let complains = show == Show::Complaints && from == From::Stderr;
                if show == Show::All || complains {
                    progress.say(&said);
                }
                match from {
                    From::Stdout if heard(&said) => {}
                    From::Stdout => {
                        stdout.push_str(&said);
                        stdout.push('\n');
                        said_last.push(said);
                    }
                    From::Stderr => complained_last.push(said),
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            // It has closed both, which most programs do by ending.
            Err(RecvTimeoutError::Disconnected) if group.ended()? => break,
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(POLL_INTERVAL),
        }
        if progress.is_cancelled() {
            return Err(CommandError::Cancelled);
        }
        if began.elapsed() >= limit {
            return Err(CommandError::TimedOut {
                line,
                limit,
                last: last(complained_last, said_last),
            });
        }
    }
    let status = group.end()?;
    if status.success() {
        Ok(stdout)
    } else {
        Err(CommandError::Failed { line, status, last: last(complained_last, said_last) })
    }
}

/// The last lines of a stream.
#[derive(Default)]
struct Last(VecDeque<String>);

impl Last {
    fn push(&mut self, line: String) {
        self.0.push_back(line);
        if self.0.len() > LAST {
            self.0.pop_front();
        }
    }
}

/// What an error shows: the complaints, or what was said where there are none.
fn last(complained: Last, said: Last) -> Vec<String> {
    if complained.0.is_empty() { said.0.into() } else { complained.0.into() }
}

/// A command as one could type it.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.display().to_string()).collect::<Vec<_>>().join(" ")
}
