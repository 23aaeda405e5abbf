//! `memtwin lab run check`: `memtwin check` on emulated ARMv8 boards, each with a KVM/arm64 of its own
//! and a kernel of another page size, or on real machines; merged into one record, with the seed's
//! matrix of page and address sizes.

mod merged;
mod places;
mod plan;

use super::replicate::need_qemu;
use super::talk::Talk;
use crate::cli::Output;
use crate::values::Time;
use clap::{Args, ValueEnum};
use memtwin_lab::{Arch, Flavour};
use memtwin_replicate::Stop;
use memtwin_report::Failure;
use memtwin_report::{ExitCode, exit};
use merged::Merged;
use plan::Plan;
use std::fmt;
use std::path::PathBuf;

/// `memtwin lab run check`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Check {
    /// Where: on emulated boards that are booted for it, on one of `memtwin lab up`, on this machine, on
    /// others through ssh
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "emulated",
        value_name = "emulated[:NAME]|local|ssh://[USER@]HOST,…"
    )]
    pub(crate) hosts: Vec<String>,
    /// Every size of addresses for each granule, and every kernel that there is
    #[arg(long)]
    pub(crate) all: bool,
    /// The page sizes of the boards' kernels [default: 4k, with --all each; 64k is skipped unless
    /// `memtwin lab build --kernel 64k` has built it]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "4k|16k|64k,…")]
    pub(crate) kernel: Vec<Kernel>,
    /// The boards' CPU, by QEMU's name: max, neoverse-n1, cortex-a76, …
    #[arg(long, default_value = "max", value_name = "CPU")]
    pub(crate) cpu: String,
    /// How many CPUs a board has
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=8))]
    pub(crate) cpus: u16,
    /// A board's memory in MiB
    #[arg(long, default_value_t = 1024, value_name = "MIB", value_parser = clap::value_parser!(u32).range(512..))]
    pub(crate) memory: u32,
    /// Where `emulated:NAME` is up, if it was started with --state
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// How long the check of a granule may take
    #[arg(long, default_value = "10m", value_name = "TIME")]
    pub(crate) timeout: Time,
    /// List the cases and run none
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Arguments of `memtwin check` there [default: modes get, clear and ring, each granule]
    #[arg(last = true, conflicts_with = "all")]
    pub(crate) arguments: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) output: Output,
}

/// A board's kernel, by the size of its pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Kernel {
    /// Debian's, with pages of 4 KiB
    #[value(name = "4k")]
    K4,
    /// Debian's, with pages of 16 KiB
    #[value(name = "16k")]
    K16,
    /// Built from Debian's source, with pages of 64 KiB
    #[value(name = "64k")]
    K64,
}

impl Kernel {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::K4, Self::K16, Self::K64];

    /// Which one that is.
    pub(crate) fn flavour(self) -> Flavour {
        match self {
            Self::K4 => Flavour::Standard,
            Self::K16 => Flavour::Pages16K,
            Self::K64 => Flavour::Pages64K,
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::K4 => "4k",
            Self::K16 => "16k",
            Self::K64 => "64k",
        })
    }
}

/// Checks each place in turn, and writes one report of all.
pub(super) fn run(args: &Check, command: String, stop: &Stop) -> Result<ExitCode, Failure> {
    let plan = Plan::of(args)?;
    if args.dry_run {
        return plan.show();
    }
    crate::output::probe(&args.output)?;
    if plan.has_boards() {
        need_qemu(Arch::Aarch64)?;
    }
    let mut talk = Talk::new(args.output.quiet, stop);
    let folder = tempfile::Builder::new().prefix("memtwin-lab-").tempdir();
    let mut folder = folder.map_err(|error| {
        Failure::environment(format!("{}: {error}; set TMPDIR", std::env::temp_dir().display()))
    })?;
    let mut merged = Merged::default();
    places::check(args, &plan, folder.path(), &mut merged, &mut talk)?;
    if merged.has_consoles && !stop.is_set() {
        folder.disable_cleanup(true);
        merged
            .closing
            .push(format!("the boards' consoles are kept in {}", folder.path().display()));
    }
    if stop.is_set() {
        merged.closing.push("interrupted: what is not listed did not run".to_owned());
    }
    let code = exit::of_cases(&merged.cases, false, stop.is_set());
    let closing = std::mem::take(&mut merged.closing);
    crate::output::write(&args.output, &merged.record(command), &closing)?;
    Ok(code)
}
