//! A side of a migration: a host, and the QEMU that runs there, by its monitor and its guest's console.

mod far_end;
mod starting;

use crate::guest::console::{Console, ConsoleError};
use crate::verdict::compare::DigestHost;
use memtwin_child::Spawn;
use memtwin_lab::Progress;
use memtwin_lab::host::{self, Host, HostError, LineEnd, quoted};
use memtwin_qemu::{GuestStatus, status};
use memtwin_qmp::{Qmp, QmpError};
use memtwin_wait::wait_until;
use starting::{Reaped, WhileAlive};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// How long QEMU may take to make its sockets: on an emulated board, over NFS.
const START_TIMEOUT: Duration = Duration::from_secs(180);
/// How long it may take for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// And for one to a command out of band, for which it need not wait for anything.
const URGENT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long it may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Why a side does not come about.
#[derive(Debug, thiserror::Error)]
pub enum SideError {
    /// The host can't be reached.
    #[error(transparent)]
    Host(#[from] HostError),
    /// QEMU ended before it could be spoken to.
    #[error("{side}: QEMU ended ({status}) before it took a command{}", said.trim().lines().map(|line| format!("\n    {line}")).collect::<String>())]
    Ended {
        /// The side.
        side: String,
        /// How.
        status: String,
        /// What it said.
        said: String,
    },
    /// It can't be started.
    #[error("{side}: can't start QEMU: {error}")]
    Start {
        /// The side.
        side: String,
        /// What the system said.
        error: io::Error,
    },
    /// Its monitor does not answer.
    #[error("{side}: {error}")]
    Qmp {
        /// The side.
        side: String,
        /// What happened.
        error: QmpError,
    },
    /// Its guest's console can't be obtained.
    #[error(transparent)]
    Console(#[from] ConsoleError),
}

/// How a QEMU is started.
#[derive(Clone, Debug)]
pub struct SideSpec {
    /// `source` or `destination`.
    pub name: String,
    /// Memtwin's command on the host.
    pub memtwin: String,
    /// QEMU's whole line for the host's shell. It makes the four sockets, and waits at none of them.
    pub line: String,
    /// The monitor's socket on the host.
    pub qmp: String,
    /// A second monitor's, for the digests.
    pub qmp_digest: String,
    /// A third one's, for what can't wait.
    pub qmp_urgent: String,
    /// The console's socket.
    pub console: String,
    /// The folder here for what the guest and QEMU say.
    pub logs: PathBuf,
}

/// A running QEMU. It ends when this is dropped, and when we do.
#[derive(Debug)]
pub struct Side {
    spec: SideSpec,
    host: Arc<dyn Host>,
    child: Child,
    /// The far side has said that QEMU is there no more.
    gone_there: bool,
    /// Its monitor.
    pub qmp: Qmp,
    /// Another, which answers when that one can't: for commands out of band alone.
    pub(crate) urgent: Qmp,
    /// Its guest's console.
    pub console: Console,
}

impl Side {
    /// Starts QEMU, and waits until it takes commands.
    ///
    /// Errors: it ends before, or the host is not reached.
    pub fn start(
        host: Arc<dyn Host>,
        spec: SideSpec,
        progress: &mut dyn Progress,
    ) -> Result<Self, SideError> {
        let started = |error| SideError::Start { side: spec.name.clone(), error };
        let said = spec.logs.join(format!("{}.qemu.log", spec.name));
        let log = File::create(&said).map_err(started)?;
        let mut command = host.command(&far_end::noted(&spec));
        command.process_group(0).stdin(Stdio::piped());
        command.stdout(log.try_clone().map_err(started)?).stderr(log);
        let mut child = Reaped(Some(command.spawn_on_stdin().map_err(started)?));
        // One command there waits, rather than many from here ask.
        let sockets =
            [&spec.qmp, &spec.qmp_digest, &spec.qmp_urgent, &spec.console].map(|path| quoted(path));
        let line =
            format!("for s in {}; do until [ -S $s ]; do sleep 0.1; done; done", sockets.join(" "));
        let waited = {
            let mut while_it_lives = WhileAlive { child: &mut child, progress };
            host::run(&*host, &line, START_TIMEOUT, &mut while_it_lives)
        };
        let reached = waited.map_err(SideError::from).and_then(|_| reach(&*host, &spec));
        // It makes its sockets before it asks for memory, and may end while they are connected.
        let reached = reached.map_err(|error| match child.ends() {
            Some(status) => {
                let said = std::fs::read_to_string(&said).unwrap_or_default();
                SideError::Ended { side: spec.name.clone(), status: status.to_string(), said }
            }
            None => error,
        });
        let (qmp, urgent, console) = reached?;
        let child = child.0.take().ok_or_else(|| started(io::ErrorKind::NotFound.into()))?;
        Ok(Self { spec, host, child, gone_there: false, qmp, urgent, console })
    }

    /// `source` or `destination`.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// The host that it runs on.
    pub fn host(&self) -> &Arc<dyn Host> {
        &self.host
    }

    /// Where its memory is digested.
    pub fn digests_at(&self) -> DigestHost<'_> {
        DigestHost { host: &*self.host, memtwin: &self.spec.memtwin, qmp: &self.spec.qmp_digest }
    }

    /// Whether its guest runs.
    ///
    /// Errors: QEMU does not answer, or has ended.
    pub fn state(&mut self) -> Result<GuestStatus, QmpError> {
        status(&mut self.qmp)
    }

    /// Whether the command here that runs QEMU there has ended, by which nothing more comes from it. QEMU
    /// itself may be there still: [`Side::has_surely_ended`].
    pub fn is_cut_off(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Whether QEMU has ended for sure. A connection that broke off, or an ssh that was killed, says nothing
    /// of what it led to: then the far side is asked.
    pub fn has_surely_ended(&mut self) -> bool {
        match self.child.try_wait() {
            Ok(Some(status)) => {
                LineEnd::of(self.host.name(), status) != LineEnd::Unknown || self.is_gone_there()
            }
            _ => false,
        }
    }

    /// Whether the far side says that QEMU is there no more.
    fn is_gone_there(&mut self) -> bool {
        self.gone_there |= far_end::is_gone(&*self.host, &self.spec.qmp);
        self.gone_there
    }

    /// The last that QEMU has said.
    pub fn said(&self) -> String {
        let path = self.spec.logs.join(format!("{}.qemu.log", self.spec.name));
        let said = std::fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(6)..].join("; ")
    }

    /// Ends QEMU from outside, as one that does not take `quit`. Whether it has surely ended.
    pub fn cut_off(&mut self) -> bool {
        // The end of its standard input is what ends it, if need be by SIGKILL.
        drop(self.child.stdin.take());
        wait_until(END_TIMEOUT, POLL_INTERVAL, || self.has_surely_ended())
    }

    /// Ends QEMU, and waits until it has ended.
    pub fn end(mut self) {
        self.close();
    }

    fn close(&mut self) {
        // Whether it hears it or not: the end of its standard input is what ends it.
        let _ = self.qmp.execute::<serde_json::Value>("quit", ());
        drop(self.child.stdin.take());
        if wait_until(END_TIMEOUT, POLL_INTERVAL, || self.is_cut_off()) {
            return;
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// A folder that is there for QEMU's sockets: made on the host.
    ///
    /// Errors: the host refuses.
    pub fn folder(
        host: &dyn Host,
        path: &Path,
        progress: &mut dyn Progress,
    ) -> Result<(), HostError> {
        let line = format!("mkdir -p {}", quoted(&path.to_string_lossy()));
        host::run(host, &line, START_TIMEOUT, progress).map(drop)
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if !self.is_cut_off() {
            self.close();
        }
    }
}

/// Connects to all that a QEMU has made.
fn reach(host: &dyn Host, spec: &SideSpec) -> Result<(Qmp, Qmp, Console), SideError> {
    let monitor = |error| SideError::Qmp { side: spec.name.clone(), error };
    let qmp = OwnedFd::from(host.connect(&spec.qmp)?);
    let qmp = Qmp::resume_on(qmp, ANSWER_TIMEOUT).map_err(monitor)?;
    let urgent = OwnedFd::from(host.connect(&spec.qmp_urgent)?);
    let urgent = Qmp::urgent_on(urgent, URGENT_TIMEOUT).map_err(monitor)?;
    let console = host.connect(&spec.console)?;
    let log = spec.logs.join(format!("{}.console.log", spec.name));
    Ok((qmp, urgent, Console::listen(&spec.name, console, &log)?))
}
