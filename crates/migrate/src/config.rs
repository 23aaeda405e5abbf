//! What is to be migrated, where, and how: everything that a run needs to be told.

use crate::bit_rate::BitRate;
use crate::faults::MigrationFault;
use crate::hosts::HostChoice;
use crate::plan::{MigrationPlan, PlanError, SEED};
use crate::sweep;
use memtwin_lab::Arch;
use memtwin_qemu::Parameters;
use memtwin_report::Failure;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

/// A migration to run and to judge.
#[derive(Clone, Debug)]
pub struct MigrationConfig {
    /// Where the two sides are.
    pub hosts: HostChoice,
    /// Where the lab is up whose boards `hosts` names, if not at its usual place.
    pub lab_state: Option<PathBuf>,
    /// The plan of hosts, addresses and guest. Two sides on this machine need none.
    pub plan: PlanSource,
    /// This program, to run on hosts of this machine's architecture: it digests a guest's memory there.
    pub memtwin: PathBuf,
    /// The guest's architecture.
    pub arch: Arch,
    /// The guest's memory in bytes, if not as the plan has it.
    pub memory: Option<u64>,
    /// How many CPUs the guest has, if not as the plan has it.
    pub cpus: Option<u16>,
    /// QEMU's name of the destination's CPU, if it is not to be the source's.
    pub destination_cpu: Option<String>,
    /// QEMU's name of the destination's machine, if it is not to be the source's.
    pub destination_machine: Option<String>,
    /// What dirties the guest's memory.
    pub load: GuestLoad,
    /// How long the load runs before and after the move.
    pub work_time: Duration,
    /// How often the guest moves: to the destination, back to the source, and so on.
    pub hops: u16,
    /// Bytes per second that QEMU may send, if not as many as it likes.
    pub bandwidth: Option<u64>,
    /// How long the guest may stand still at the end, if not as long as QEMU allows by itself.
    pub downtime_limit: Option<Duration>,
    /// Migration capabilities of QEMU's to switch on.
    pub capabilities: Vec<String>,
    /// Migration parameters of QEMU's to set.
    pub parameters: Parameters,
    /// When a move is given up.
    pub timeout: Duration,
    /// What is broken on purpose.
    pub faults: Vec<MigrationFault>,
    /// Whether both guests stand still for their memory to be compared page by page.
    pub verify_ram: bool,
    /// Whether a word is flipped at the destination after that, which must be found.
    pub control: bool,
    /// The guest's disk, of which a copy is used, if it is not to be made.
    pub disk: Option<PathBuf>,
    /// Whether disk, consoles and what QEMU said are kept.
    pub keep: bool,
    /// A folder with the guest's programs, if they are not to be built.
    pub programs: Option<PathBuf>,
    /// The source tree that has them, if not the one that this was built from.
    pub source: Option<PathBuf>,
    /// A grid of loads and bandwidths to try, in place of one move.
    pub sweep: Option<SweepConfig>,
}

/// What dirties the guest's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestLoad {
    /// The load of the reference setup, scaled to the guest's memory.
    Scaled,
    /// Copies of `dirtyram`, each with these parameters.
    Given(Vec<String>),
    /// Nothing.
    Idle,
}

/// Where a plan is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanSource {
    /// The one that is built in.
    Reference,
    /// A file.
    File(PathBuf),
}

/// A sweep: loads and bandwidths of which each pair is predicted, and tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweepConfig {
    /// The load's intervals in milliseconds.
    pub intervals_ms: Vec<u64>,
    /// The link's bandwidths.
    pub bandwidths: Vec<BitRate>,
    /// Between which intervals, in milliseconds, the smallest is looked for that converges on 1 Gbit/s; if
    /// it is looked for.
    pub bounds_ms: Option<(u64, u64)>,
}

impl MigrationConfig {
    /// Errors for what can't be: said before anything is brought up.
    pub fn check(&self) -> Result<(), Failure> {
        if self.control && !self.verify_ram {
            return Err(Failure::usage("--control needs --verify-ram on"));
        }
        if self.hosts != HostChoice::Emulated && !self.faults.is_empty() {
            return Err(Failure::usage(
                "--fault needs --hosts emulated: boards and a network of ours",
            ));
        }
        if let Some(fault) = self.faults.iter().find(|fault| fault.hop > self.hops) {
            let message = format!("--fault in hop {}: --hops {}", fault.hop, self.hops);
            return Err(Failure::usage(message));
        }
        match self.sweep {
            Some(_) => sweep::check(&self.load),
            None => Ok(()),
        }
    }

    /// The plan, with the guest that is asked for.
    ///
    /// Errors: there is none, or it says what can't be.
    pub(crate) fn plan(&self) -> Result<MigrationPlan, Failure> {
        let mut plan = self.plan.read()?;
        if let Some(memory) = self.memory {
            plan.guest.memory = memory >> 20;
        }
        plan.guest.cpus = self.cpus.unwrap_or(plan.guest.cpus);
        Ok(plan)
    }
}

impl PlanSource {
    /// Reads it.
    ///
    /// Errors: there is none, or it says what can't be.
    pub fn read(&self) -> Result<MigrationPlan, Failure> {
        let path = match self {
            Self::Reference => return MigrationPlan::parse(SEED).map_err(Failure::usage),
            Self::File(path) => path,
        };
        let failed = |error: PlanError| Failure::usage(format!("{}: {error}", path.display()));
        let unread = |error: std::io::Error| Failure::usage(format!("{}: {error}", path.display()));
        // A fifo that nobody writes to is not waited for.
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
        let file = file.map_err(unread)?;
        if !file.metadata().is_ok_and(|about| about.is_file()) {
            let why = format!("{}: expected a regular file", path.display());
            return Err(Failure::usage(why));
        }
        MigrationPlan::read(file).map_err(failed)
    }
}
