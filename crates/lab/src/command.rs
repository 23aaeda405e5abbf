//! Runs a program for so long at most, tells its lines, and leaves nothing of it behind.

use crate::Progress;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// How often it is seen whether the work is still wanted.
const TICK: Duration = Duration::from_millis(50);
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

/// What its standard input is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Input {
    /// Empty.
    None,
    /// Nothing comes, and it ends with the program.
    Open,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Stdout,
    Stderr,
}

/// Runs a program; what it says is progress.
pub(crate) fn run(
    command: &mut Command,
    limit: Duration,
    progress: &mut dyn Progress,
) -> Result<(), CommandError> {
    drive(command, limit, progress, Show::All, Input::None).map(|_| ())
}

/// Runs a program for what it says on standard output.
pub(crate) fn output(
    command: &mut Command,
    limit: Duration,
    progress: &mut dyn Progress,
) -> Result<String, CommandError> {
    drive(command, limit, progress, Show::Nothing, Input::None)
}

/// The same for a program that takes the end of its standard input for the end of its work.
pub(crate) fn output_with_input(
    command: &mut Command,
    limit: Duration,
    progress: &mut dyn Progress,
) -> Result<String, CommandError> {
    drive(command, limit, progress, Show::Nothing, Input::Open)
}

/// The same, and what it complains of is progress.
pub(crate) fn tell_with_input(
    command: &mut Command,
    limit: Duration,
    progress: &mut dyn Progress,
) -> Result<String, CommandError> {
    drive(command, limit, progress, Show::Complaints, Input::Open)
}

fn drive(
    command: &mut Command,
    limit: Duration,
    progress: &mut dyn Progress,
    show: Show,
    input: Input,
) -> Result<String, CommandError> {
    let line = shown(command);
    let began = Instant::now();
    let mut group = Group::start(command, input)?;
    let lines = group.lines();
    let mut stdout = String::new();
    let (mut said_last, mut complained_last) = (Last::default(), Last::default());
    loop {
        match lines.recv_timeout(TICK) {
            Ok((from, said)) => {
                let complains = show == Show::Complaints && from == From::Stderr;
                if show == Show::All || complains {
                    progress.say(&said);
                }
                match from {
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
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(TICK),
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

/// A process group, killed when it is dropped.
struct Group {
    program: String,
    leader: Child,
    pid: Pid,
}

impl Group {
    fn start(command: &mut Command, input: Input) -> Result<Self, CommandError> {
        let program = command.get_program().display().to_string();
        let leader = command
            .stdin(if input == Input::Open { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| CommandError::Start { program: program.clone(), error })?;
        let pid = Pid::from_child(&leader);
        Ok(Self { program, leader, pid })
    }

    /// What it says, line by line, until it has closed both streams.
    fn lines(&mut self) -> mpsc::Receiver<(From, String)> {
        let (sender, lines) = mpsc::channel();
        if let Some(stdout) = self.leader.stdout.take() {
            forward(stdout, From::Stdout, sender.clone());
        }
        if let Some(stderr) = self.leader.stderr.take() {
            forward(stderr, From::Stderr, sender);
        }
        lines
    }

    /// Whether the leader has ended. It is not reaped, so that its number stays ours.
    fn ended(&self) -> Result<bool, CommandError> {
        let how = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let ended = waitid(WaitId::Pid(self.pid), how);
        ended.map(|ended| ended.is_some()).map_err(|errno| self.lost(errno.into()))
    }

    /// Kills what is left of the group and reaps the leader.
    fn end(&mut self) -> Result<ExitStatus, CommandError> {
        // There may be nobody left to hear it.
        let _ = kill_process_group(self.pid, Signal::KILL);
        self.leader.wait().map_err(|error| self.lost(error))
    }

    fn lost(&self, error: io::Error) -> CommandError {
        CommandError::Wait { program: self.program.clone(), error }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Once the leader is reaped its number may belong to someone else.
        if let Ok(None) = self.leader.try_wait() {
            let _ = self.end();
        }
    }
}

/// Sends the lines of a stream from a thread, which ends with the stream.
fn forward(stream: impl Read + Send + 'static, from: From, sender: Sender<(From, String)>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(line) = line else { return };
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send((from, line)).is_err() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Silent;

    const LONG: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    struct Heard(Vec<String>, bool);

    impl Progress for Heard {
        fn say(&mut self, line: &str) {
            self.0.push(line.to_owned());
        }

        fn is_cancelled(&self) -> bool {
            self.1
        }
    }

    #[test]
    fn what_a_program_says_is_heard_or_returned() {
        let mut heard = Heard(Vec::new(), false);
        run(&mut shell("echo one; echo two"), LONG, &mut heard).unwrap();
        assert_eq!(heard.0, ["one", "two"]);
        let said = output(&mut shell("echo three; echo no >&2"), LONG, &mut Silent).unwrap();
        assert_eq!(said, "three\n");
    }

    #[test]
    fn a_failure_shows_the_last_lines() {
        let script = "echo fine; for i in $(seq 20); do echo bad $i >&2; done; exit 7";
        let error = run(&mut shell(script), LONG, &mut Silent).unwrap_err();
        let CommandError::Failed { status, last, .. } = &error else { panic!("{error}") };
        assert_eq!(status.code(), Some(7));
        assert_eq!(last.len(), LAST);
        assert_eq!(last.last().unwrap(), "bad 20");
        let error = run(&mut shell("echo only; exit 1"), LONG, &mut Silent).unwrap_err();
        assert!(error.to_string().ends_with("\n    only"), "{error}");
        let missing = run(&mut Command::new("/no/such/program"), LONG, &mut Silent).unwrap_err();
        assert!(missing.to_string().starts_with("can't start /no/such/program"), "{missing}");
    }

    #[test]
    fn what_takes_too_long_or_is_not_wanted_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", pid.display());
        let limit = Duration::from_millis(500);
        let error = run(&mut shell(&script), limit, &mut Silent).unwrap_err();
        assert!(matches!(error, CommandError::TimedOut { .. }), "{error}");
        let stat = format!("/proc/{}/stat", std::fs::read_to_string(pid).unwrap().trim());
        let alive = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
        let began = Instant::now();
        while alive() && began.elapsed() < LONG {
            std::thread::sleep(TICK);
        }
        assert!(!alive(), "its child lives on");

        let cancelled = run(&mut shell("sleep 1000"), LONG, &mut Heard(Vec::new(), true));
        assert!(matches!(cancelled, Err(CommandError::Cancelled)));
    }
}
