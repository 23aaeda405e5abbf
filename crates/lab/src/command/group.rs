//! A program with all that it starts: a process group, of which nothing outlives its owner.

use super::CommandError;
use memtwin_child::{GroupWatch, Spawn};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Sender};

/// What its standard input is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    /// Empty.
    None,
    /// Nothing comes, and it ends with the program.
    Open,
}

/// Where a line was said.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Stdout,
    Stderr,
}

/// A process group, killed when it is dropped.
pub(super) struct Group {
    program: String,
    leader: Child,
    pid: Pid,
    /// Kills the group when we are killed.
    watch: Option<GroupWatch>,
}

impl Group {
    /// Starts it.
    pub(super) fn start(command: &mut Command, input: Input) -> Result<Self, CommandError> {
        let program = command.get_program().display().to_string();
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let started = match input {
            Input::None => command
                .stdin(Stdio::null())
                .spawn_bound_group()
                .map(|(leader, watch)| (leader, Some(watch))),
            // It kills its group itself.
            Input::Open => {
                command.stdin(Stdio::piped()).spawn_on_stdin().map(|leader| (leader, None))
            }
        };
        let (leader, watch) =
            started.map_err(|error| CommandError::Start { program: program.clone(), error })?;
        let pid = Pid::from_child(&leader);
        Ok(Self { program, leader, pid, watch })
    }

    /// What it says, line by line, until it has closed both streams.
    pub(super) fn lines(&mut self) -> mpsc::Receiver<(From, String)> {
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
    pub(super) fn ended(&self) -> Result<bool, CommandError> {
        let how = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let ended = waitid(WaitId::Pid(self.pid), how);
        ended.map(|ended| ended.is_some()).map_err(|errno| self.lost(errno.into()))
    }

    /// Kills what is left of the group and reaps the leader.
    pub(super) fn end(&mut self) -> Result<ExitStatus, CommandError> {
        // There may be nobody left to hear it.
        let _ = kill_process_group(self.pid, Signal::KILL);
        self.watch = None;
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
