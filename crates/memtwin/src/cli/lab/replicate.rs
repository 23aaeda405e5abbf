//! The words of `memtwin lab run replicate`.

use super::remote::RemoteOptions;
use crate::cli::OutputArgs;
use crate::helpers;
use crate::remote_args::Sender;
use crate::values::{Size, Time};
use clap::{Args, ValueEnum};
use memtwin_experiments::ReplicateExperimentConfig;
use memtwin_lab::{Arch, aeshmem};
use memtwin_remote::RemoteTarget;
use memtwin_report::Failure;
use std::path::PathBuf;

/// `memtwin lab run replicate`.
#[derive(Args, Clone, Debug)]
pub(crate) struct LabReplicate {
    /// How long the program writes
    #[arg(long, default_value = "10s", value_name = "TIME")]
    seconds: Time,
    /// Where: local; emulated, a board that is booted for it; emulated:NAME, a board of `memtwin lab
    /// up`; ssh://USER@HOST:PORT. On another machine it runs under KVM, first with KVM's bitmap and
    /// then with its dirty ring (docs/lab.md)
    #[arg(long, default_value = "local", value_name = "HOST")]
    hosts: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    elsewhere: RemoteOptions,
    /// The guest's architecture
    #[arg(long, default_value = "aarch64", value_name = "aarch64|x86_64")]
    arch: Arch,
    /// Let KVM log by a ring of N entries for each vCPU, and not by a bitmap
    #[arg(long, value_name = "N", value_parser = crate::cli::ring_entries)]
    dirty_ring: Option<u32>,
    /// A directory with the guest's `kernel` and `initrd`, made before; not for people
    #[arg(long, value_name = "DIR", hide = true)]
    image: Option<PathBuf>,
    /// What runs its code [default: kvm for an aarch64 guest on an aarch64 host with /dev/kvm, else
    /// tcg]
    #[arg(long, value_enum)]
    accel: Option<GuestAccel>,
    /// Where the window lies [default: in a device under kvm, in the only RAM block under tcg]
    #[arg(long, value_enum)]
    layout: Option<WindowLayout>,
    /// QEMU's name of the CPU [default: host under kvm, cortex-a72 or max under tcg]
    #[arg(long, value_name = "CPU")]
    cpu: Option<String>,
    /// The window's size
    #[arg(long, default_value = "1M", value_name = "SIZE")]
    size: Size,
    /// The memory file; what stands there is replaced, and it is removed at the end unless --keep
    #[arg(long, default_value = memtwin_session::DEFAULT_MEMORY_FILE, value_name = "FILE")]
    memory: PathBuf,
    /// The twin; removed at the end unless --keep [default: in a directory of the run's own]
    #[arg(long, value_name = "FILE")]
    twin: Option<PathBuf>,
    /// Then once more, with the twin on another host: tcp://HOST:PORT, where a `memtwin receive` waits.
    /// On another machine that is done in any case, with the twin here
    #[arg(long, value_name = "TARGET")]
    to: Option<RemoteTarget>,
    /// Write each round's dirty bitmap to FILE (docs/dirty-bitmap.md)
    #[arg(long, value_name = "FILE")]
    dirty_bitmap: Option<PathBuf>,
    /// How long to sleep between rounds
    #[arg(long, default_value = "20ms", value_name = "TIME")]
    interval: Time,
    /// Once the program has ended: give up waiting for a clean log after so long (exit code 10)
    #[arg(long, default_value = "2m", value_name = "TIME")]
    timeout: Time,
    /// Then once more, with a word of the memory file flipped behind the log's back: that replication
    /// must end with 1 and name its page
    #[arg(long)]
    control: bool,
    /// Keep memory file, twin and console
    #[arg(long)]
    keep: bool,
    /// More for the guest's kernel command line
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    append: Option<String>,
    /// A directory with the guest's programs, built before (`cargo xtask guest`) [default: they are
    /// built from the source tree]
    #[arg(long, value_name = "DIR", conflicts_with = "source")]
    programs: Option<PathBuf>,
    /// Memtwin's source tree, which has the guest's programs [default: the one this was built from]
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// Say what would be fetched, built and started, and do none of it (but for lists of packages,
    /// which are fetched if they are not there)
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) output: OutputArgs,
}

/// What runs the guest's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GuestAccel {
    /// The CPU, by /dev/kvm
    Kvm,
    /// QEMU's emulator
    Tcg,
}

/// Where the window lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WindowLayout {
    /// In the guest's only RAM block
    Ram,
    /// In an ivshmem-plain device
    Ivshmem,
}

impl GuestAccel {
    /// What the lab calls it.
    pub(super) fn into_lab(self) -> aeshmem::Accel {
        match self {
            Self::Kvm => aeshmem::Accel::Kvm,
            Self::Tcg => aeshmem::Accel::Tcg,
        }
    }
}

impl WindowLayout {
    fn into_lab(self) -> aeshmem::WindowBacking {
        match self {
            Self::Ram => aeshmem::WindowBacking::Ram,
            Self::Ivshmem => aeshmem::WindowBacking::Ivshmem,
        }
    }
}

impl LabReplicate {
    /// What is asked for.
    ///
    /// Errors: there is no key for a target that is not this host alone.
    pub(crate) fn into_config(self) -> Result<ReplicateExperimentConfig, Failure> {
        let sender = |target: &RemoteTarget| Sender::unasked().config(target).map(Box::new);
        Ok(ReplicateExperimentConfig {
            guest: aeshmem::Choice {
                arch: self.arch,
                accel: self.accel.map(GuestAccel::into_lab),
                layout: self.layout.map(WindowLayout::into_lab),
                cpu: self.cpu,
                bytes: self.size.0,
                ring: self.dirty_ring,
            },
            time: self.seconds.0,
            hosts: self.hosts,
            remote: self.elsewhere.into_config(),
            image: self.image,
            memory: self.memory,
            twin: self.twin,
            to: self.to.as_ref().map(sender).transpose()?,
            dirty_bitmap: self.dirty_bitmap,
            interval: self.interval.0,
            timeout: self.timeout.0,
            control: self.control,
            keep: self.keep,
            append: self.append,
            programs: self.programs,
            source: self.source,
            guardian: helpers::guardian_command(),
        })
    }
}
