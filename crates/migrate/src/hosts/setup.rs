//! What is set up on a machine that is somebody's, and undone again on every way out.
//!
//! A shell there does it, step by step, and another in a session of its own undoes it, in reverse order, once the
//! first has ended. That one ends with its standard input (`memtwin_lab::host`), so whatever ends us, kill -9 or a
//! cable, undoes all. How a step is undone is told before it is done, so that one that was cut short is undone as
//! well; that does nothing where there is nothing.

mod step;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use step::SetupStep;
pub(crate) use table::{HostWords, SetupRow, folder_step, steps};

use memtwin_child::Spawn;
use memtwin_lab::Progress;
use memtwin_lab::host::Host;
use memtwin_report::Failure;
use memtwin_wait::Deadline;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How long all steps may take, a mount among them; and all undoing.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(120);
const END_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How many of the last lines an error shows.
const LAST: usize = 4;
/// How the shell's own words begin. Everything else is what its programs say.
const WORD: &str = "MEMTWIN ";

/// What could not be undone, for the machines' owner.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leftovers(Arc<Mutex<Vec<String>>>);

impl Leftovers {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn push(&self, line: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

/// Steps that are done there until this is dropped.
#[derive(Debug)]
pub(crate) struct HostSetup {
    host: String,
    steps: Vec<SetupStep>,
    child: Child,
    said: Receiver<String>,
    last: Vec<String>,
    left: Leftovers,
}

impl HostSetup {
    /// Does them.
    ///
    /// Errors: one can't be done, or would touch what is somebody's; then all are undone.
    pub(crate) fn start(
        host: &dyn Host,
        steps: Vec<SetupStep>,
        left: &Leftovers,
        progress: &dyn Progress,
    ) -> Result<Self, Failure> {
        let mut command = host.command(&step::script(&steps));
        command.process_group(0).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let spawned = command.spawn_on_stdin();
        let mut child =
            spawned.map_err(|error| Failure::environment(format!("{}: {error}", host.name())))?;
        let (sender, said) = mpsc::channel();
        child.stdout.take().into_iter().for_each(|stream| forward(stream, sender.clone()));
        child.stderr.take().into_iter().for_each(|stream| forward(stream, sender.clone()));
        // What they say ends with the last of them.
        drop(sender);
        let (host, left) = (host.name().to_owned(), left.clone());
        let mut this = Self { host, steps, child, said, last: Vec::new(), left };
        let deadline = Deadline::after(BEGIN_TIMEOUT);
        let why = loop {
            match this.word() {
                Ok(Some(word)) if word == "READY" => return Ok(this),
                Ok(Some(word)) => {
                    if let Some(step) = this.step(&word, "TAKEN ") {
                        break format!("{} is there already", step.says);
                    }
                    if let Some(step) = this.step(&word, "FAILED ") {
                        break format!("{}: {}", step.says, this.last.join("; "));
                    }
                }
                Ok(None) => {}
                Err(Gone) => break format!("nothing can be set up: {}", this.last.join("; ")),
            }
            if progress.is_cancelled() {
                break "interrupted".to_owned();
            }
            if deadline.is_over() {
                break format!("not set up after {} s", BEGIN_TIMEOUT.as_secs());
            }
        };
        Err(Failure::environment(format!("{}: {why}", this.host)))
    }

    /// Why it does not hold any more, if that is so: what was set up is undone then, in the midst of things.
    pub(crate) fn lost(&mut self) -> Option<String> {
        let ended = !matches!(self.child.try_wait(), Ok(None));
        let what: Vec<&str> = self.steps.iter().map(|step| step.says.as_str()).collect();
        ended.then(|| {
            format!(
                "{}: the connection that kept {} broke off, and they with it: nothing is judged",
                self.host,
                what.join(", ")
            )
        })
    }

    fn step(&self, word: &str, begins: &str) -> Option<&SetupStep> {
        self.steps.get(word.strip_prefix(begins)?.parse::<usize>().ok()?)
    }

    /// The next of the shell's words, if one comes soon.
    fn word(&mut self) -> Result<Option<String>, Gone> {
        match self.said.recv_timeout(POLL_INTERVAL) {
            Ok(line) => match line.strip_prefix(WORD) {
                Some(word) => Ok(Some(word.to_owned())),
                None => {
                    self.last.push(line);
                    let many = self.last.len().saturating_sub(LAST);
                    self.last.drain(..many);
                    Ok(None)
                }
            },
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Gone),
        }
    }
}

/// Nothing more will be said.
struct Gone;

impl Drop for HostSetup {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let deadline = Deadline::after(END_TIMEOUT);
        let undone = loop {
            match self.word() {
                Ok(Some(word)) if word == "GONE" => break true,
                Ok(Some(word)) => {
                    if let Some(step) = self.step(&word, "LEFT ") {
                        self.left
                            .push(format!("{}: {} is left: {}", self.host, step.says, step.undoes));
                    }
                }
                Ok(None) if !deadline.is_over() => {}
                _ => break false,
            }
        };
        if !undone {
            let undo: Vec<&str> =
                self.steps.iter().rev().map(|step| step.undoes.as_str()).collect();
            self.left.push(format!(
                "{}: nobody says whether all was undone; this does it: {}",
                self.host,
                undo.join("; ")
            ));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends the lines of a stream from a thread, which ends with the stream.
fn forward(stream: impl Read + Send + 'static, sender: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim().to_owned();
            if !line.is_empty() && sender.send(line).is_err() {
                return;
            }
        }
    });
}
