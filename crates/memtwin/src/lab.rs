//! `memtwin lab`: guests that are booted to experiment on.

mod audit;
pub(crate) mod boards;
mod both;
mod check;
mod conclusion;
mod console;
mod differing;
mod elsewhere;
mod experiment;
mod found;
pub(crate) mod image;
mod job;
mod kernel;
mod merged;
mod outside;
mod probe;
pub(crate) mod replicate;
mod replicate_there;
pub(crate) mod state;
mod steer;
pub(crate) mod talk;
mod twin_file;

use crate::cli::Output;
use crate::values::{Size, Time};
use clap::{Args, Subcommand, ValueEnum};
use memtwin_lab::{Arch, aeshmem};
use memtwin_replicate::Stop;
use memtwin_report::ExitCode;
use memtwin_report::Failure;
use std::ffi::OsString;
use std::path::PathBuf;

/// How long a guest of ours may stand still: an emulated board takes its time.
const MAX_PAUSE: &str = "1m";

/// `memtwin lab`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Lab {
    /// What to do.
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum LabCommand {
    /// Print a plan that is built in, as a beginning for one of your own
    Plan {
        /// Which
        #[arg(value_parser = ["seed"])]
        name: String,
    },
    /// Make a disk image with a guest's root file system, without root and without a mount
    Image(image::Image),
    /// Boot emulated ARMv8 boards, with a network of their own
    Up(boards::Up),
    /// Open a shell on a board that is up, or run a command there
    Ssh {
        /// The board
        name: String,
        /// The command
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
        #[command(flatten)]
        #[allow(missing_docs)]
        place: Place,
    },
    /// Show what a board's console has said, and type there: the keys of a terminal, or orders by a pipe
    /// (docs/lab.md)
    Console {
        /// The board
        name: String,
        /// Only look on, and go on with what it says
        #[arg(long, short)]
        follow: bool,
        #[command(flatten)]
        #[allow(missing_docs)]
        place: Place,
    },
    /// Say what a machine offers: architecture, kernel, page size, CPUs, KVM, QEMU
    Probe(probe::Probe),
    /// End the boards that are up
    Down {
        #[command(flatten)]
        #[allow(missing_docs)]
        place: Place,
    },
    /// Run an experiment from its beginning to its end
    Run {
        /// Which.
        #[command(subcommand)]
        experiment: Experiment,
    },
    /// Build what emulated boards boot, before it is needed (docs/lab.md)
    Build(kernel::Build),
}

/// Where the lab is.
#[derive(Args, Clone, Debug)]
struct Place {
    /// As given to `memtwin lab up`
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

impl Place {
    fn folder(&self) -> Result<PathBuf, Failure> {
        state::folder(self.state.as_deref())
    }
}

#[derive(Clone, Debug, Subcommand)]
enum Experiment {
    /// Boot a Linux guest, let a program dirty its device memory, replicate that, and compare
    /// `sum -r` on three sides (docs/seed.md)
    Replicate(Box<Replicate>),
    /// Boot a Linux guest whose devices write its RAM, and audit its dirty log meanwhile (docs/lab.md)
    Audit(Box<audit::Audit>),
    /// Run `memtwin check` on emulated ARMv8 boards with kernels of several page sizes, or on real
    /// machines, and merge what they say (docs/boards.md)
    Check(Box<check::Check>),
    /// Bring up a loaded guest and move it to another host (docs/migrate.md)
    Migrate(Box<crate::migrate::Migrate>),
}

/// `memtwin lab run replicate`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Replicate {
    /// How long the program writes
    #[arg(long, default_value = "10s", value_name = "TIME")]
    pub(crate) seconds: Time,
    /// Where: local; emulated, a board that is booted for it; emulated:NAME, a board of `memtwin lab
    /// up`; ssh://USER@HOST:PORT. On another machine it runs under KVM, first with KVM's bitmap and
    /// then with its dirty ring (docs/lab.md)
    #[arg(long, default_value = "local", value_name = "HOST")]
    pub(crate) hosts: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) elsewhere: elsewhere::Elsewhere,
    /// The guest's architecture
    #[arg(long, default_value = "aarch64", value_name = "aarch64|x86_64")]
    pub(crate) arch: Arch,
    /// Let KVM log by a ring of N entries for each vCPU, and not by a bitmap
    #[arg(long, value_name = "N", value_parser = crate::cli::ring_entries)]
    pub(crate) dirty_ring: Option<u32>,
    /// A directory with the guest's `kernel` and `initrd`, made before; not for people
    #[arg(long, value_name = "DIR", hide = true)]
    pub(crate) image: Option<PathBuf>,
    /// What runs its code [default: kvm for an aarch64 guest on an aarch64 host with /dev/kvm, else
    /// tcg]
    #[arg(long, value_enum)]
    pub(crate) accel: Option<Accel>,
    /// Where the window lies [default: in a device under kvm, in the only RAM block under tcg]
    #[arg(long, value_enum)]
    pub(crate) layout: Option<Layout>,
    /// QEMU's name of the CPU [default: host under kvm, cortex-a72 or max under tcg]
    #[arg(long, value_name = "CPU")]
    pub(crate) cpu: Option<String>,
    /// The window's size
    #[arg(long, default_value = "1M", value_name = "SIZE")]
    pub(crate) size: Size,
    /// The memory file; what stands there is replaced, and it is removed at the end unless --keep
    #[arg(long, default_value = crate::memory_file::DEFAULT, value_name = "FILE")]
    pub(crate) memory: PathBuf,
    /// The twin; removed at the end unless --keep [default: in a directory of the run's own]
    #[arg(long, value_name = "FILE")]
    pub(crate) twin: Option<PathBuf>,
    /// Then once more, with the twin on another host: tcp://HOST:PORT, where a `memtwin receive` waits.
    /// On another machine that is done in any case, with the twin here
    #[arg(long, value_name = "TARGET")]
    pub(crate) to: Option<memtwin_remote::RemoteTarget>,
    /// Write each round's dirty bitmap to FILE (docs/dirty-bitmap.md)
    #[arg(long, value_name = "FILE")]
    pub(crate) dirty_bitmap: Option<PathBuf>,
    /// How long to sleep between rounds
    #[arg(long, default_value = "20ms", value_name = "TIME")]
    pub(crate) interval: Time,
    /// Once the program has ended: give up waiting for a clean log after so long (exit code 10)
    #[arg(long, default_value = "2m", value_name = "TIME")]
    pub(crate) timeout: Time,
    /// Then once more, with a word of the memory file flipped behind the log's back: that replication
    /// must end with 1 and name its page
    #[arg(long)]
    pub(crate) control: bool,
    /// Keep memory file, twin and console
    #[arg(long)]
    pub(crate) keep: bool,
    /// More for the guest's kernel command line
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    pub(crate) append: Option<String>,
    /// A directory with the guest's programs, built before (`cargo xtask guest`) [default: they are
    /// built from the source tree]
    #[arg(long, value_name = "DIR", conflicts_with = "source")]
    pub(crate) programs: Option<PathBuf>,
    /// Memtwin's source tree, which has the guest's programs [default: the one this was built from]
    #[arg(long, value_name = "DIR")]
    pub(crate) source: Option<PathBuf>,
    /// Say what would be fetched, built and started, and do none of it (but for lists of packages,
    /// which are fetched if they are not there)
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) output: Output,
}

/// What runs the guest's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Accel {
    /// The CPU, by /dev/kvm
    Kvm,
    /// QEMU's emulator
    Tcg,
}

/// Where the window lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Layout {
    /// In the guest's only RAM block
    Ram,
    /// In an ivshmem-plain device
    Ivshmem,
}

impl Replicate {
    /// What is asked of the guest.
    pub(crate) fn choice(&self) -> aeshmem::Choice {
        aeshmem::Choice {
            arch: self.arch,
            accel: self.accel.map(|accel| match accel {
                Accel::Kvm => aeshmem::Accel::Kvm,
                Accel::Tcg => aeshmem::Accel::Tcg,
            }),
            layout: self.layout.map(|layout| match layout {
                Layout::Ram => aeshmem::Where::Ram,
                Layout::Ivshmem => aeshmem::Where::Ivshmem,
            }),
            cpu: self.cpu.clone(),
            bytes: self.size.0,
            ring: self.dirty_ring,
        }
    }
}

/// Does it.
pub(crate) fn run(args: &Lab, command: String, stop: &Stop) -> Result<ExitCode, Failure> {
    let done = match &args.command {
        LabCommand::Build(args) => kernel::run(args, stop),
        LabCommand::Plan { name: _ } => {
            boards::shown(memtwin_migrate::plan::SEED.lines().map(str::to_owned))
        }
        LabCommand::Image(args) => image::run(args, stop),
        LabCommand::Up(args) => boards::up(args, stop),
        LabCommand::Ssh { name, command, place } => state::ssh(&place.folder()?, name, command),
        LabCommand::Console { name, follow, place } => {
            console::run(&place.folder()?, name, *follow, stop)
        }
        LabCommand::Probe(args) => probe::run(args, stop),
        LabCommand::Down { place } => state::down(&place.folder()?),
        LabCommand::Run { experiment } => match experiment {
            Experiment::Replicate(args) if args.hosts != "local" => {
                replicate_there::run(args, command, stop)
            }
            Experiment::Replicate(args) => replicate::run(args, command, stop),
            Experiment::Audit(args) => audit::run(args, command, stop),
            Experiment::Check(args) => check::run(args, command, stop),
            Experiment::Migrate(args) => crate::migrate::run(args, command, stop),
        },
    };
    match done {
        // Whatever broke off, it was because we were told to stop.
        Err(_) if stop.is_set() => Err(Failure {
            code: ExitCode::Interrupted,
            message: "interrupted; nothing is left behind".to_owned(),
        }),
        done => done,
    }
}
