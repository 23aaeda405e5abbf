//! What each experiment is to do, and where.

use crate::check::CheckPart;
use crate::remote_machine::RemoteArgs;
use memtwin_lab::aeshmem::{Accel, Choice};
use memtwin_lab::board::BoardSpec;
use memtwin_lab::{Arch, Flavour};
use memtwin_remote::SenderConfig;
use memtwin_session::HelperCommand;
use std::path::PathBuf;
use std::time::Duration;

/// What to replicate, and where.
#[derive(Clone, Debug)]
pub struct ReplicateExperimentConfig {
    /// The guest and its window.
    pub guest: Choice,
    /// How long its program writes.
    pub time: Duration,
    /// Where: `local`; `emulated`, a board that is booted for it; `emulated:NAME`; `ssh://…`.
    pub hosts: String,
    /// On another machine.
    pub remote: RemoteArgs,
    /// A folder with the guest's `kernel` and `initrd`, made before; `None`: they are made.
    pub image: Option<PathBuf>,
    /// The memory file.
    pub memory: PathBuf,
    /// The twin; `None`: in a folder of the run's own.
    pub twin: Option<PathBuf>,
    /// Then once more, with the twin on this other host.
    pub to: Option<Box<SenderConfig>>,
    /// A file for each round's dirty bitmap.
    pub dirty_bitmap: Option<PathBuf>,
    /// How long to sleep between rounds.
    pub interval: Duration,
    /// How long to wait for a clean log once the program has ended.
    pub timeout: Duration,
    /// Then once more, with a word flipped behind the log's back.
    pub control: bool,
    /// Keep memory file, twin and console.
    pub keep: bool,
    /// More for the guest's kernel command line.
    pub append: Option<String>,
    /// A folder with the guest's programs, built before; `None`: they are built.
    pub programs: Option<PathBuf>,
    /// The source tree that they are built of; `None`: the one that this was built from.
    pub source: Option<PathBuf>,
    /// How the guardian is started that leaves QEMU as it was found if this process is killed.
    pub guardian: HelperCommand,
}

/// What to audit, and where.
#[derive(Clone, Debug)]
pub struct AuditExperimentConfig {
    /// How long an audit goes on.
    pub time: Duration,
    /// Where: `local`; `emulated`, a board that is booted for it; `emulated:NAME`; `ssh://…`.
    pub hosts: String,
    /// On another machine.
    pub remote: RemoteArgs,
    /// The guest's architecture.
    pub arch: Arch,
    /// What runs its code; `None`: KVM where it can, else TCG.
    pub accel: Option<Accel>,
    /// A ring of this many entries for each vCPU; `None`: KVM's bitmap.
    pub ring: Option<u32>,
    /// A folder with the guest's `kernel` and `initrd`, made before; `None`: they are made.
    pub image: Option<PathBuf>,
    /// How the guardian is started that leaves QEMU as it was found if this process is killed.
    pub guardian: HelperCommand,
}

/// What to check, and where.
#[derive(Clone, Debug)]
pub struct CheckExperimentConfig {
    /// Where: `emulated`, a board that is booted for it, for each kernel; `emulated:NAME`; `local`; `ssh://…`.
    pub hosts: Vec<String>,
    /// Every size of addresses for each granule, and every kernel that there is.
    pub all: bool,
    /// The kernels of boards that are booted; none: the one with pages of 4 KiB, with `all` each.
    pub kernels: Vec<Flavour>,
    /// Those boards' CPU and memory.
    pub board: BoardSpec,
    /// The folder of the lab in which `emulated:NAME` is up; `None`: the default one.
    pub state: Option<PathBuf>,
    /// A folder with Memtwin for the machines, built before; `None`: it is built for each.
    pub board_programs: Option<PathBuf>,
    /// How long a check may take.
    pub timeout: Duration,
    /// What each machine checks; `None`: modes get, clear and ring, each granule.
    pub part: Option<CheckPart>,
}
