//! The running guest of a scenario, and what it tells of itself.

use crate::facts::monitor;
use crate::run::ReproCaller;
use memtwin_bare::{BareMachine, JobState, PrepareError, Report};
use memtwin_qemu::{BlockMemory, BlocksError, MemoryError, Process, blocks};
use memtwin_qmp::QmpError;
use memtwin_testbed::{Qemu, StartError};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long QEMU may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long a guest may take until it is at work: firmware under a slow KVM takes seconds.
const BOOT: Duration = Duration::from_secs(120);

/// How often it is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A running QEMU with a scenario's guest. Killed when it is dropped.
#[derive(Debug)]
pub struct ScenarioGuest {
    qemu: Qemu,
    machine: BareMachine,
    memory: BlockMemory,
}

/// Why there is no guest to be audited.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// Its files can't be written.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// No temporary folder.
    #[error("can't make a temporary folder: {0}")]
    Folder(#[source] io::Error),
    /// QEMU did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It started, and ended before it had a guest.
    #[error("QEMU ended at once ({status}): {said}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// What it said.
        said: String,
    },
    /// It does not answer.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// It does not say what memory it has.
    #[error(transparent)]
    Blocks(#[from] BlocksError),
    /// The block that the guest's own report lies in.
    #[error("QEMU has no RAMBlock {0}, where the guest's report lies")]
    NoBlock(String),
    /// The guest's memory can't be read.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// QEMU can't be looked at.
    #[error("can't wait for QEMU: {0}")]
    Wait(#[source] io::Error),
    /// The guest can't do its job.
    #[error("the guest can't do its job: {0:?}; dev/bare/asm says what the code means")]
    Failed(Report),
    /// Its CPU does not do what the scenario is about.
    #[error(
        "the CPU's page-table walker updates nothing that this is about (HAFDBS is {has}, expected {needed})"
    )]
    Walker {
        /// What it has, [`Report::walker`].
        has: u64,
        /// What it needs.
        needed: u64,
    },
    /// It takes too long.
    #[error("the guest is not at work after {} s: {report:?}", after.as_secs())]
    Slow {
        /// What it told last.
        report: Report,
        /// How long was waited.
        after: Duration,
    },
    /// The caller said so.
    #[error("interrupted")]
    Interrupted,
}

impl ScenarioGuest {
    /// Starts it.
    pub fn start(
        machine: BareMachine,
        arguments: &[String],
        caller: &mut impl ReproCaller,
    ) -> Result<Self, GuestError> {
        let folder = tempfile::tempdir().map_err(GuestError::Folder)?;
        let mut command = machine.command(&Qemu::qmp_in(folder.path()), folder.path())?;
        command.args(arguments);
        caller.announce(&command);
        let mut qemu = Qemu::launch(folder, command)?;
        // An audit needs QEMU's monitor for itself: this connection ends here.
        let mut qmp = match monitor(&qemu, TIMEOUT) {
            Ok(qmp) => qmp,
            // Some options are looked at when its monitor is there already.
            Err(error) if error.is_gone() => {
                return Err(match end(&mut qemu, TIMEOUT)? {
                    Some((status, said)) => GuestError::Ended { status, said },
                    None => error.into(),
                });
            }
            Err(error) => return Err(error.into()),
        };
        let blocks = blocks(&mut qmp)?;
        let main = machine.main_block();
        let block = blocks.iter().find(|block| block.name == main);
        let block = block.ok_or_else(|| GuestError::NoBlock(main.to_owned()))?;
        let process = Process::of_pid(qemu.pid(), std::slice::from_ref(block))?;
        let memory = BlockMemory::new(Arc::new(process), block)?;
        Ok(Self { qemu, machine, memory })
    }

    /// Waits until it is at work: until it has been over its range once, so that no page of it is
    /// touched for the first time any more; a walker, which takes a fresh page each time, until it
    /// has begun.
    pub fn wait(&self, caller: &impl ReproCaller) -> Result<Report, GuestError> {
        let began = Instant::now();
        loop {
            let report = self.report()?;
            if let JobState::Failed(_) = report.state {
                return Err(GuestError::Failed(report));
            }
            if self.machine.job.is_at_work(&report) {
                let (has, needed) = (report.walker, self.machine.required_walker());
                return if has < needed {
                    Err(GuestError::Walker { has, needed })
                } else {
                    Ok(report)
                };
            }
            if !caller.go_on() {
                return Err(GuestError::Interrupted);
            }
            if began.elapsed() > BOOT {
                return Err(GuestError::Slow { report, after: BOOT });
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// What the guest tells of itself.
    pub fn report(&self) -> Result<Report, MemoryError> {
        let mut bytes = [0; Report::LEN];
        self.memory.read(Report::offset(self.machine.image), &mut bytes)?;
        Ok(Report::from_bytes(&bytes))
    }

    /// Its QEMU.
    pub fn qemu(&self) -> &Qemu {
        &self.qemu
    }

    /// The path of QEMU's QMP socket.
    pub fn qmp(&self) -> PathBuf {
        self.qemu.qmp()
    }

    /// Whether QEMU has ended, or does so within this time.
    pub fn has_died(&mut self, patience: Duration) -> Result<bool, GuestError> {
        Ok(end(&mut self.qemu, patience)?.is_some())
    }

    /// How QEMU ended, if it has, and what it said.
    pub fn ended(&mut self) -> Result<Option<(ExitStatus, String)>, GuestError> {
        end(&mut self.qemu, Duration::ZERO)
    }
}

/// How QEMU ended, if it has or does within this time, and what it said.
fn end(qemu: &mut Qemu, patience: Duration) -> Result<Option<(ExitStatus, String)>, GuestError> {
    let began = Instant::now();
    loop {
        if let Some(status) = qemu.ended().map_err(GuestError::Wait)? {
            let said = fs::read_to_string(qemu.dir().join("stderr")).unwrap_or_default();
            return Ok(Some((status, said)));
        }
        if began.elapsed() >= patience {
            return Ok(None);
        }
        thread::sleep(POLL_INTERVAL);
    }
}
