//! The words of `memtwin check`.

use super::{OutputArgs, STRESSORS, ring_entries};
use crate::helpers;
use crate::values::{Size, Time, distinct, distinct_by};
use clap::{Args, ValueEnum};
use memtwin_kvm::Mode;
use memtwin_session::{self as session, CheckConfig};
use memtwin_stressor::Stressor;
use memtwin_vmm::{Backing, Granule};
use std::path::PathBuf;

/// Which source `check` asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckSourceArg {
    /// The embedded guest on /dev/kvm
    Kvm,
    /// A plain process, tracked by userfaultfd and PAGEMAP_SCAN
    Process,
}

/// `memtwin check`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Check {
    /// Which dirty logs of KVM to ask; without it get and clear, where there is KVM
    #[arg(long, value_delimiter = ',', value_name = "get|clear|ring,…")]
    pub(crate) mode: Vec<Mode>,
    /// What the window's memory is [default: every kind in turn]
    #[arg(long, value_delimiter = ',', value_name = "shm|anon|thp|hugetlb,…")]
    pub(crate) backing: Vec<Backing>,
    /// How many vCPUs (or threads) write [default: 1 and 2 in turn]
    #[arg(long, value_delimiter = ',', value_name = "N,…", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) vcpus: Vec<u16>,
    /// How pages get dirty [default: every way in turn]
    #[arg(long, value_delimiter = ',', value_name = "NAME,…", long_help = STRESSORS)]
    pub(crate) stressor: Vec<Stressor>,
    /// The page sizes of the guest's own page tables, on aarch64 [default: 4k]
    #[arg(long, value_delimiter = ',', value_name = "4k|16k|64k,…", conflicts_with = "source")]
    pub(crate) granule: Vec<Granule>,
    /// How many bits the guest's virtual addresses have, on aarch64 [default: 48]
    #[arg(long, value_delimiter = ',', value_name = "39|42|47|48|52,…", conflicts_with = "source")]
    pub(crate) va_bits: Vec<u8>,
    /// The full product of modes, backings, vCPUs and stressors, each with its control
    #[arg(long)]
    pub(crate) all: bool,
    /// The window's size [default: 1M, and two huge pages for thp and hugetlb]
    #[arg(long, value_name = "SIZE")]
    pub(crate) size: Option<Size>,
    /// How many rounds a case runs [default: 100]
    #[arg(long, value_name = "N", conflicts_with = "seconds", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: Option<u32>,
    /// How long a case runs
    #[arg(long, value_name = "TIME")]
    pub(crate) seconds: Option<Time>,
    /// How long to sleep between rounds
    #[arg(long, default_value = "4ms", value_name = "TIME")]
    pub(crate) interval: Time,
    /// Where the random choices begin; printed with the results, to repeat a run
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// How many entries each vCPU's dirty ring has: a power of two; more where that is less
    /// than a page of the host's (4096 entries of 64 KiB)
    #[arg(long, default_value_t = 1024, value_name = "N", value_parser = ring_entries)]
    pub(crate) ring_entries: u32,
    /// The file behind the window of shm cases [default: one without a name]
    #[arg(long, value_name = "FILE")]
    pub(crate) memory: Option<PathBuf>,
    /// Whose dirty log to check [default: kvm, or process where there is no KVM]
    #[arg(long, value_enum, conflicts_with = "mode")]
    pub(crate) source: Option<CheckSourceArg>,
    /// List the cases and run none
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Say the record of each case on stderr as soon as it has ended; not for people
    #[arg(long, hide = true)]
    pub(crate) pieces: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) output: OutputArgs,
}

impl Check {
    /// What it asks for.
    pub(crate) fn into_config(self) -> CheckConfig {
        CheckConfig {
            source: self.source.map(|source| match source {
                CheckSourceArg::Kvm => session::CheckSource::Kvm,
                CheckSourceArg::Process => session::CheckSource::Process,
            }),
            modes: distinct_by(&self.mode, |mode| mode.name()),
            backings: distinct(&self.backing),
            vcpus: distinct(&self.vcpus),
            stressors: distinct(&self.stressor),
            granules: distinct(&self.granule),
            va_bits: distinct(&self.va_bits),
            all: self.all,
            size: self.size.map(|size| size.0),
            rounds: self.rounds,
            time: self.seconds.map(|time| time.0),
            interval: self.interval.0,
            seed: self.seed,
            ring_entries: self.ring_entries,
            memory: self.memory,
            writer: helpers::writer_command(),
        }
    }
}
