//! The words of `memtwin lab up` and `memtwin lab build`.

use super::check::PageKernel;
use clap::{Args, ValueEnum};
use memtwin_experiments::LabUpConfig;
use memtwin_lab::Flavour;
use memtwin_lab::board::BoardSpec;
use std::path::PathBuf;

/// The kernel of boards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum BoardKernel {
    /// Pages of 4 KiB
    #[default]
    #[value(name = "4k")]
    Pages4K,
    /// Pages of 16 KiB
    #[value(name = "16k")]
    Pages16K,
}

impl BoardKernel {
    /// What the lab calls it.
    pub(super) fn flavour(self) -> Flavour {
        match self {
            Self::Pages4K => Flavour::Standard,
            Self::Pages16K => Flavour::Pages16K,
        }
    }
}

/// What boards are made of.
#[derive(Args, Clone, Debug)]
pub(crate) struct BoardArgs {
    /// The boards' kernel
    #[arg(long, value_enum, default_value = "4k", value_name = "4k|16k")]
    pub(crate) kernel: BoardKernel,
    /// The boards' CPU, by QEMU's name: max, neoverse-n1, cortex-a76, …
    #[arg(long, default_value = "max", value_name = "CPU")]
    pub(crate) cpu: String,
    /// How many CPUs each board has
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=8))]
    pub(crate) cpus: u16,
    /// Each board's memory in MiB
    #[arg(long, default_value_t = 1024, value_name = "MIB", value_parser = clap::value_parser!(u32).range(256..))]
    pub(crate) memory: u32,
}

impl BoardArgs {
    /// A board's CPU and memory.
    pub(crate) fn spec(&self) -> BoardSpec {
        let Self { cpus, memory, .. } = *self;
        BoardSpec { cpu: self.cpu.clone(), cpus, memory, append: String::new() }
    }
}

/// `memtwin lab up`.
#[derive(Args, Clone, Debug)]
pub(crate) struct LabUp {
    /// How many boards: a, b, c, …, at 192.168.10.100 and up on the network that they share
    #[arg(default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    pub(crate) boards: u8,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) board: BoardArgs,
    /// Go on in the background until `memtwin lab down`
    #[arg(long)]
    pub(crate) detach: bool,
    /// A directory with the boards' programs, built before (`cargo xtask guest --memtwin`) [default:
    /// they are built from the source tree]
    #[arg(long, value_name = "DIR")]
    pub(crate) programs: Option<PathBuf>,
    /// Where its sockets, keys and consoles are [default: in $XDG_RUNTIME_DIR, or the system's place
    /// for temporary files]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// No progress on stderr
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

impl LabUp {
    /// The lab that is asked for, in this folder.
    pub(crate) fn into_config(self, folder: PathBuf) -> LabUpConfig {
        LabUpConfig {
            boards: self.boards,
            board: self.board.spec(),
            kernel: self.board.kernel.flavour(),
            programs: self.programs,
            folder,
        }
    }
}

/// `memtwin lab build`.
#[derive(Args, Clone, Debug)]
pub(crate) struct LabBuild {
    /// The page sizes of the kernels: 4k and 16k are Debian's; 64k is built from Debian's source,
    /// which takes some minutes
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "4k",
        value_name = "4k|16k|64k,…"
    )]
    pub(crate) kernel: Vec<PageKernel>,
    /// How many compilers work at a time [default: one for each CPU]
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<usize>,
    /// Say what would be fetched and built
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// No progress on stderr
    #[arg(long, short)]
    pub(crate) quiet: bool,
}
