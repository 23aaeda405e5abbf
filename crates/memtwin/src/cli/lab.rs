//! The words of `memtwin lab`.

mod audit;
mod boards;
mod check;
mod remote;
mod replicate;

pub(crate) use audit::LabAudit;
pub(crate) use boards::{LabBuild, LabUp};
pub(crate) use check::LabCheck;
pub(crate) use replicate::LabReplicate;

use super::OutputArgs;
use crate::values::Size;
use clap::{Args, Subcommand};
use memtwin_lab::Arch;
use memtwin_lab::running_lab::{self, RunningLabError};
use std::ffi::OsString;
use std::path::PathBuf;

/// `memtwin lab`.
#[derive(Args, Clone, Debug)]
pub(crate) struct LabArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: LabCommand,
}

impl LabArgs {
    /// How the results of an experiment are given.
    pub(crate) fn output_of_run(&self) -> Option<&OutputArgs> {
        let LabCommand::Run { experiment } = &self.command else { return None };
        match experiment {
            LabExperiment::Replicate(args) => (!args.dry_run).then_some(&args.output),
            LabExperiment::Audit(args) => Some(&args.output),
            LabExperiment::Check(args) => (!args.dry_run).then_some(&args.output),
            LabExperiment::Migrate(args) => Some(&args.output),
        }
    }
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// Print a plan that is built in, as a beginning for one of your own
    Plan {
        /// Which
        #[arg(value_parser = ["seed"])]
        name: String,
    },
    /// Make a disk image with a guest's root file system, without root and without a mount
    Image(DiskImage),
    /// Boot emulated ARMv8 boards, with a network of their own
    Up(LabUp),
    /// Open a shell on a board that is up, or run a command there
    Ssh {
        /// The board
        name: String,
        /// The command
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
        #[command(flatten)]
        #[allow(missing_docs)]
        place: LabPlace,
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
        place: LabPlace,
    },
    /// Say what a machine offers: architecture, kernel, page size, CPUs, KVM, QEMU
    Probe(LabProbe),
    /// End the boards that are up
    Down {
        #[command(flatten)]
        #[allow(missing_docs)]
        place: LabPlace,
    },
    /// Run an experiment from its beginning to its end
    Run {
        /// The experiment.
        #[command(subcommand)]
        experiment: LabExperiment,
    },
    /// Build what emulated boards boot, before it is needed (docs/lab.md)
    Build(LabBuild),
}

/// Where the lab is.
#[derive(Args, Clone, Debug)]
pub(crate) struct LabPlace {
    /// As given to `memtwin lab up`
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

impl LabPlace {
    /// The folder of the lab.
    ///
    /// Errors: another user has taken the default place.
    pub(crate) fn folder(&self) -> Result<PathBuf, RunningLabError> {
        running_lab::folder(self.state.as_deref())
    }
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum LabExperiment {
    /// Boot a Linux guest, let a program dirty its device memory, replicate that, and compare
    /// `sum -r` on three sides (docs/reference-setup-b.md)
    Replicate(Box<LabReplicate>),
    /// Boot a Linux guest whose devices write its RAM, and audit its dirty log meanwhile (docs/lab.md)
    Audit(Box<LabAudit>),
    /// Run `memtwin check` on emulated ARMv8 boards with kernels of several page sizes, or on real
    /// machines, and merge what they say (docs/boards.md)
    Check(Box<LabCheck>),
    /// Bring up a loaded guest and move it to another host (docs/migrate.md)
    Migrate(Box<super::Migrate>),
}

/// `memtwin lab image`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DiskImage {
    /// The image; what stands there is replaced
    pub(crate) file: PathBuf,
    /// The guest's architecture
    #[arg(long, default_value = "aarch64", value_name = "aarch64|x86_64")]
    pub(crate) arch: Arch,
    /// The file system
    #[arg(long, default_value = "ext3", value_name = "ext2|ext3|ext4")]
    pub(crate) fstype: String,
    /// The image's size
    #[arg(long, default_value = "64M", value_name = "SIZE")]
    pub(crate) size: Size,
    /// A folder whose contents go into the root, on top of what is there
    #[arg(long, value_name = "DIR")]
    pub(crate) contents: Option<PathBuf>,
    /// A directory with the guest's programs, built before (`cargo xtask guest`) [default: they are
    /// built from the source tree]
    #[arg(long, value_name = "DIR", conflicts_with = "source")]
    pub(crate) programs: Option<PathBuf>,
    /// Memtwin's source tree, which has the guest's programs [default: the one this was built from]
    #[arg(long, value_name = "DIR")]
    pub(crate) source: Option<PathBuf>,
    /// No progress on stderr
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// `memtwin lab probe`.
#[derive(Args, Clone, Debug)]
pub(crate) struct LabProbe {
    /// local, ssh://USER@HOST:PORT, or emulated:NAME, a board of `memtwin lab up`
    pub(crate) host: String,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// As given to `memtwin lab up`
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}
