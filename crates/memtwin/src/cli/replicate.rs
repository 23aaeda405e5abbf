//! The words of `memtwin replicate`.

use super::{OutputArgs, STRESSORS, path_after, pause};
use crate::helpers;
use crate::values::{Size, Time};
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};
use memtwin_kvm::Mode;
use memtwin_remote::{RemoteTarget, TargetError};
use memtwin_replicate as engine;
use memtwin_report::Failure;
use memtwin_session::{
    MonitorAddress, QemuReplicateConfig, ReplicateConfig, ReplicatedGuest, TwinTarget,
};
use memtwin_stressor::Stressor;
use memtwin_twin::DeviceOptions;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

/// A source to replicate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SourceArg {
    /// The embedded guest.
    Kvm,
    /// A plain process.
    Process,
    /// A running QEMU, by its QMP monitor.
    Qemu(MonitorAddress),
}

fn source(given: OsString) -> Result<SourceArg, String> {
    let is = |prefix: &str| given.as_bytes().starts_with(prefix.as_bytes());
    match given.to_str() {
        Some("kvm") => Ok(SourceArg::Kvm),
        Some("process") => Ok(SourceArg::Process),
        _ if is("qemu:") || is("libvirt:") => {
            MonitorAddress::parse(&given).map(SourceArg::Qemu).map_err(|error| error.to_string())
        }
        _ => Err("expected kvm, process, qemu:QMP-SOCKET or libvirt:DOMAIN[@URI]".to_owned()),
    }
}

/// Where a twin goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TwinArg {
    /// A regular file.
    File(PathBuf),
    /// Another host, which keeps it.
    Remote(RemoteTarget),
    /// Nowhere: to measure.
    Discard,
}

fn twin(given: OsString) -> Result<TwinArg, String> {
    if let Some(path) = path_after(&given, "file:") {
        return Ok(TwinArg::File(path));
    }
    match given.to_str() {
        Some("discard") => Ok(TwinArg::Discard),
        Some(text) if text.starts_with("tcp:") || text.starts_with("ssh:") => {
            text.parse().map(TwinArg::Remote).map_err(|error: TargetError| error.to_string())
        }
        _ => {
            Err("expected file:PATH, tcp://HOST:PORT, ssh://[USER@]HOST/PATH or discard".to_owned())
        }
    }
}

/// What ends a replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum UntilArg {
    /// A clean log after at least one that was not
    Clean,
}

/// `memtwin replicate`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Replicate {
    /// The guest: `kvm` (embedded), `process`, or a QEMU that runs already, by its monitor:
    /// `qemu:QMP-SOCKET`, `qemu:tcp:HOST:PORT`, `qemu:@NAME`, `qemu:fd:N`, `libvirt:DOMAIN[@URI]`
    #[arg(value_parser = OsStringValueParser::new().try_map(source))]
    pub(crate) source: SourceArg,
    /// The twin: `file:PATH` (a file or a block device; of a QEMU: a directory with an image for each
    /// RAMBlock),
    /// `tcp://HOST:PORT` (a `memtwin receive` there), `ssh://[USER@]HOST/PATH` or `discard`
    #[arg(value_parser = OsStringValueParser::new().try_map(twin))]
    pub(crate) twin: TwinArg,
    /// How long to sleep between rounds
    #[arg(long, default_value = "100ms", value_name = "TIME")]
    pub(crate) interval: Time,
    /// Stop at a clean log, pause the guest and judge
    #[arg(long, value_enum)]
    pub(crate) until: Option<UntilArg>,
    /// Replicate so long at most, then pause the guest and judge
    #[arg(long, value_name = "TIME")]
    pub(crate) seconds: Option<Time>,
    /// Run this many rounds at most after pre-copy, then pause the guest and judge
    #[arg(long, value_name = "N")]
    pub(crate) rounds: Option<u32>,
    /// Let the guest's stressors write for this long [default: to the end]
    #[arg(long, value_name = "TIME")]
    pub(crate) guest_seconds: Option<Time>,
    /// Write each round's dirty bitmap to FILE (docs/dirty-bitmap.md)
    #[arg(long, value_name = "FILE")]
    pub(crate) dirty_bitmap: Option<PathBuf>,
    /// The file behind the guest's window
    #[arg(long, default_value = memtwin_session::DEFAULT_MEMORY_FILE, value_name = "FILE")]
    pub(crate) memory: PathBuf,
    /// The window's size
    #[arg(long, default_value = "1M", value_name = "SIZE")]
    pub(crate) size: Size,
    /// How KVM's dirty log is asked
    #[arg(long, default_value = "get", value_name = "get|clear|ring")]
    pub(crate) mode: Mode,
    /// How many vCPUs (or threads) write
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) vcpus: u16,
    /// How pages get dirty
    #[arg(long, default_value = "random", value_name = "NAME", long_help = STRESSORS)]
    pub(crate) stressor: Stressor,
    /// How many pages a second the stressors write together [default: as many as they can]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) pace: Option<u64>,
    /// Of a QEMU: this RAMBlock alone; the twin is then a file
    #[arg(long, value_name = "NAME", help_heading = "QEMU")]
    pub(crate) block: Option<String>,
    /// QEMU's process id [default: found by its socket]
    #[arg(long, value_name = "PID", help_heading = "QEMU")]
    pub(crate) pid: Option<u32>,
    /// How long the guest may stand still for us at most
    #[arg(long, default_value = "250ms", value_name = "TIME", value_parser = pause, overrides_with = "max_pause", help_heading = "QEMU")]
    pub(crate) max_pause: Time,
    /// Replicate a guest even if QEMU is known to harm one like it by migrating it (docs/qemu.md)
    #[arg(long, help_heading = "QEMU")]
    pub(crate) force: bool,
    /// Write the twin to a block device whatever it holds
    #[arg(long)]
    pub(crate) force_device: bool,
    /// With --until clean: give up after so long (exit code 10)
    #[arg(long, value_name = "TIME", requires = "until")]
    pub(crate) timeout: Option<Time>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) remote: crate::remote_args::Sender,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) output: OutputArgs,
}

impl Replicate {
    /// Errors if an option is of no use with the source, or the window's size is none.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if let SourceArg::Qemu(_) = self.source {
            if self.guest_seconds.is_some() || self.pace.is_some() {
                let what = "--guest-seconds and --pace are for guests of our own, and this one is a QEMU's";
                return Err(Failure::usage(what));
            }
            return Ok(());
        }
        if self.block.is_some() || self.pid.is_some() || self.force {
            return Err(Failure::usage(
                "--block, --pid and --force are for a source qemu:QMP-SOCKET",
            ));
        }
        crate::sizes::check(Some(self.size.0))
    }

    /// What it asks for, of a guest of our own.
    ///
    /// Errors: a key of the remote twin can't be read, or there is none.
    pub(crate) fn into_config(self) -> Result<ReplicateConfig, Failure> {
        let (twin, until, time) = (self.twin_target()?, self.until(), self.limit());
        Ok(ReplicateConfig {
            guest: match self.source {
                SourceArg::Process => ReplicatedGuest::Process(helpers::writer_command()),
                SourceArg::Kvm | SourceArg::Qemu(_) => ReplicatedGuest::Kvm(self.mode),
            },
            twin,
            memory: self.memory,
            size: self.size.0,
            vcpus: self.vcpus,
            stressor: self.stressor,
            seed: None,
            pace: self.pace,
            guest_time: self.guest_seconds.map(|time| time.0),
            interval: self.interval.0,
            until,
            rounds: self.rounds,
            time,
            dirty_bitmap: self.dirty_bitmap,
        })
    }

    /// What it asks for, of the QEMU with this monitor.
    ///
    /// Errors: as [`Replicate::into_config`].
    pub(crate) fn into_qemu_config(
        self,
        monitor: MonitorAddress,
    ) -> Result<QemuReplicateConfig, Failure> {
        let (twin, until, time) = (self.twin_target()?, self.until(), self.limit());
        Ok(QemuReplicateConfig {
            monitor,
            pid: self.pid,
            block: self.block,
            twin,
            interval: self.interval.0,
            until,
            rounds: self.rounds,
            time,
            dirty_bitmap: self.dirty_bitmap,
            max_pause: self.max_pause.0,
            hazards: super::hazards(self.force),
            guardian: helpers::guardian_command(),
        })
    }

    fn twin_target(&self) -> Result<TwinTarget, Failure> {
        Ok(match &self.twin {
            TwinArg::File(path) => TwinTarget::File {
                path: path.clone(),
                device: DeviceOptions { force: self.force_device, ..DeviceOptions::default() },
            },
            TwinArg::Remote(target) => TwinTarget::Remote(Box::new(self.remote.config(target)?)),
            TwinArg::Discard => TwinTarget::Discard,
        })
    }

    fn until(&self) -> engine::Until {
        match self.until {
            Some(UntilArg::Clean) => engine::Until::Clean,
            None => engine::Until::Told,
        }
    }

    /// The time after which the rounds end: the shorter of `--seconds` and `--timeout`.
    fn limit(&self) -> Option<Duration> {
        match (self.seconds, self.timeout) {
            (Some(Time(seconds)), Some(Time(timeout))) => Some(seconds.min(timeout)),
            (seconds, timeout) => seconds.or(timeout).map(|time| time.0),
        }
    }
}
