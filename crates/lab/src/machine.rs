//! A guest that runs under QEMU, and takes orders over its console (`docs/guest.md`).

mod error;
mod process;
#[cfg(test)]
mod tests;

use crate::Progress;
pub use error::MachineError;
use memtwin_child::Spawn;
use process::record;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How often it is seen whether the wait is still wanted.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How many of its last lines an error shows.
const LAST: usize = 15;

/// The answer to an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What the program returned.
    pub rc: i32,
    /// What was said meanwhile, line by line. Programs that `show` was ordered for speak in between.
    pub output: Vec<String>,
}

/// A machine, killed when this is dropped.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    orders: ChildStdin,
    lines: Receiver<String>,
    last: VecDeque<String>,
    log: PathBuf,
    ordered: u64,
}

impl Machine {
    /// Starts a QEMU whose standard input and output are the guest's console, as by
    /// `-serial stdio -monitor none -display none`. Its console goes into a file as well.
    ///
    /// It is killed when we are.
    ///
    /// Errors: it can't be started.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self, MachineError> {
        let error = |error| MachineError::Log { path: log.to_owned(), error };
        let file = File::create(log).map_err(error)?;
        let errors = file.try_clone().map_err(error)?;
        let program = command.get_program().display().to_string();
        let start = |error| MachineError::Start { program: program.clone(), error };
        let mut child = command
            // A terminal's interrupt is for us: we end it when we are through with it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn_bound()
            .map_err(start)?;
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(orders), Some(console), Some(messages)) = streams else {
            return Err(start(io::ErrorKind::BrokenPipe.into()));
        };
        let (sender, lines) = mpsc::channel();
        record(messages, errors, sender.clone());
        record(console, file, sender);
        let last = VecDeque::new();
        Ok(Self { child, orders, lines, last, log: log.to_owned(), ordered: 0 })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// One more hand at the console's keyboard. A write to it fails once the machine has ended.
    ///
    /// Errors: no file can be opened any more.
    pub fn keyboard(&self) -> io::Result<File> {
        Ok(self.orders.as_fd().try_clone_to_owned()?.into())
    }

    /// Forgets what was said and nobody has waited for: else it is kept as long as the machine runs.
    pub fn forget(&mut self) {
        self.lines.try_iter().for_each(drop);
    }

    /// Waits until the guest takes orders; what it says of itself: architecture, kernel, page size.
    ///
    /// Errors: it ends, panics, or is not ready in time.
    pub fn ready(
        &mut self,
        limit: Duration,
        progress: &mut dyn Progress,
    ) -> Result<String, MachineError> {
        let ready = "MEMTWIN READY ";
        let line = self.line(ready, limit, progress, &mut |line| line.starts_with(ready))?;
        Ok(line[ready.len()..].to_owned())
    }

    /// Gives an order, such as `start load tstaeshm dirty auto`, and waits for its answer.
    ///
    /// Errors: the machine ends, panics, or does not answer in time.
    pub fn order(
        &mut self,
        order: &str,
        limit: Duration,
        progress: &mut dyn Progress,
    ) -> Result<Reply, MachineError> {
        self.order_heard(order, limit, progress, &mut |_| false)
    }

    /// The same; each line of the answer is `heard` when it comes, and is no part of the reply if that
    /// takes it.
    ///
    /// Errors: as for [`Machine::order`].
    pub fn order_heard(
        &mut self,
        order: &str,
        limit: Duration,
        progress: &mut dyn Progress,
        heard: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Reply, MachineError> {
        self.ordered += 1;
        let id = self.ordered;
        let what = format!("the answer to '{order}'");
        // A machine that does not take it is one that has ended, which the wait finds.
        let _ = writeln!(self.orders, "{id} {order}").and_then(|()| self.orders.flush());
        let begin = format!("MEMTWIN BEGIN {id}");
        self.line(&what, limit, progress, &mut |line| line == begin)?;
        let (done, mut output) = (format!("MEMTWIN DONE {id} rc="), Vec::new());
        let line = self.line(&what, limit, progress, &mut |line| {
            let fits = line.starts_with(&done);
            if !fits && !heard(line) {
                output.push(line.to_owned());
            }
            fits
        })?;
        // The answer begins on a line of its own: what is empty before it is not the program's.
        if output.last().is_some_and(String::is_empty) {
            output.pop();
        }
        // A number that can't be read is no success.
        let rc = line[done.len()..].trim().parse().unwrap_or(-1);
        Ok(Reply { rc, output })
    }

    /// Gives an order that must return 0; what was said.
    ///
    /// Errors: it returns something else; or as for [`Machine::order`].
    pub fn succeed(
        &mut self,
        order: &str,
        limit: Duration,
        progress: &mut dyn Progress,
    ) -> Result<Vec<String>, MachineError> {
        let Reply { rc, output } = self.order(order, limit, progress)?;
        if rc == 0 {
            Ok(output)
        } else {
            Err(MachineError::Refused { order: order.to_owned(), rc, output })
        }
    }

    /// Waits until the machine has ended by itself, as after the order `poweroff` with `-no-reboot`.
    ///
    /// Errors: it has not in time.
    pub fn ended(
        &mut self,
        limit: Duration,
        progress: &mut dyn Progress,
    ) -> Result<ExitStatus, MachineError> {
        match self.line("its end", limit, progress, &mut |_| false) {
            Err(MachineError::Ended { .. }) => self
                .child
                .wait()
                .map_err(|error| MachineError::Log { path: self.log.clone(), error }),
            Err(error) => Err(error),
            Ok(_) => Err(MachineError::Cancelled),
        }
    }

    /// Waits for a line of the console that is as it should be.
    ///
    /// Errors: the machine ends, panics, or it does not come in time.
    pub fn line(
        &mut self,
        what: &str,
        limit: Duration,
        progress: &mut dyn Progress,
        fits: &mut dyn FnMut(&str) -> bool,
    ) -> Result<String, MachineError> {
        let what = what.trim().to_owned();
        let began = Instant::now();
        loop {
            match self.lines.recv_timeout(POLL_INTERVAL) {
                Ok(line) => {
                    self.last.push_back(line.clone());
                    if self.last.len() > LAST {
                        self.last.pop_front();
                    }
                    if fits(&line) {
                        return Ok(line);
                    }
                    if line.contains("Kernel panic - not syncing") {
                        let (log, last) = self.account();
                        return Err(MachineError::Panicked { what, log, last });
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait();
                    let status = status.map_or_else(|e| e.to_string(), |status| status.to_string());
                    let (log, last) = self.account();
                    return Err(MachineError::Ended { what, status, log, last });
                }
            }
            if progress.is_cancelled() {
                return Err(MachineError::Cancelled);
            }
            if began.elapsed() >= limit {
                let (log, last) = self.account();
                return Err(MachineError::TimedOut { what, limit, log, last });
            }
        }
    }

    fn account(&self) -> (PathBuf, Vec<String>) {
        (self.log.clone(), self.last.iter().cloned().collect())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // One that has ended already can't be killed, and is reaped all the same.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
