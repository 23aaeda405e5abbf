//! The words of `memtwin migrate`, and what they come to.

mod words;

use super::OutputArgs;
use crate::values::{Size, Time};
use clap::{Args, ValueEnum};
use memtwin_lab::Arch;
use memtwin_migrate::{
    BitRate, GuestLoad, HostChoice, MigrationConfig, MigrationFault, PlanSource, SweepConfig,
};
use memtwin_report::Failure;
use serde_json::Value;
use std::path::PathBuf;
use words::SweepBounds;

/// `memtwin migrate`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Migrate {
    /// Where: on three emulated boards; by two QEMUs on this machine; on two machines by ssh that have
    /// mounted the plan's `boards.mount` (these two without the guest's network); or on three machines, an
    /// NFS server first. `emulated:NAME` is a machine too, a board of `memtwin lab up`
    #[arg(
        long,
        default_value = "emulated",
        value_name = "emulated|local|ssh://A,ssh://B|ssh://STORAGE,ssh://A,ssh://B"
    )]
    hosts: HostChoice,
    /// Where `emulated:NAME` is up, if it was started with --state
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// The lab: `seed`, or a file as `memtwin lab plan seed` prints it
    #[arg(long, default_value = "seed", value_name = "PLAN")]
    plan: PathBuf,
    /// The guest's architecture
    #[arg(long, default_value = "aarch64", value_name = "aarch64")]
    arch: Arch,
    /// The guest's memory [default: 256M, or as the plan says]
    #[arg(long, value_name = "SIZE")]
    memory: Option<Size>,
    /// How many CPUs the guest has [default: 1, or as the plan says]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=2))]
    cpus: Option<u16>,
    /// QEMU's name of the destination's CPU, to see it refused [default: as the source's]
    #[arg(long, value_name = "CPU")]
    destination_cpu: Option<String>,
    /// QEMU's name of the destination's machine [default: as the source's]
    #[arg(long, value_name = "MACHINE")]
    destination_machine: Option<String>,
    /// The load: the parameters of dirtyram, as `409600 2048 50`; several for several copies [default:
    /// these, scaled to the guest's memory]
    #[arg(long, value_name = "PAGES DIRTY MS", conflicts_with = "no_load")]
    load: Vec<String>,
    /// No load
    #[arg(long)]
    no_load: bool,
    /// How long the load runs before and after the move
    #[arg(long, default_value = "5s", value_name = "TIME")]
    seconds: Time,
    /// How often the guest moves: to the destination, back to the source, and so on
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    hops: u16,
    /// Bytes per second that QEMU may send [default: QEMU's]
    #[arg(long, value_name = "SIZE")]
    bandwidth: Option<Size>,
    /// How long the guest may stand still at the end [default: QEMU's, 300ms]
    #[arg(long, value_name = "TIME")]
    downtime_limit: Option<Time>,
    /// A migration capability of QEMU's: multifd, xbzrle, zero-copy-send, auto-converge, postcopy-ram, …
    #[arg(long, value_name = "NAME")]
    capability: Vec<String>,
    /// A migration parameter of QEMU's: multifd-channels=4, …
    #[arg(long, value_name = "NAME=VALUE")]
    parameter: Vec<String>,
    /// Give up after so long; the guest runs on at the source (exit code 10) [with --sweep: each, 60s]
    #[arg(
        long,
        default_value = "400s",
        default_value_if("sweep", "true", "60s"),
        value_name = "TIME"
    )]
    timeout: Time,
    /// Break something on purpose: `cut-link:5s` (the link of the board to which the guest moves) or
    /// `stop-nfs:10s`, once something was sent; `stop-nfs:10s@load` before, `cut-link:5s@2` in the second
    /// hop; without a time, until the move is over
    #[arg(long, value_name = "WHAT[:TIME][@HOP]", value_parser = words::fault)]
    fault: Vec<MigrationFault>,
    /// Whether both guests stand still for their memory to be compared page by page
    #[arg(long, value_enum, default_value = "on")]
    verify_ram: Switch,
    /// Then flip a word at the destination, which must be found, and flip it back
    #[arg(long)]
    control: bool,
    /// The guest's disk, made before by `lab image`; a copy of it is used [default: made for this]
    #[arg(long, value_name = "FILE")]
    disk: Option<PathBuf>,
    /// Keep disk, consoles and what QEMU said
    #[arg(long)]
    keep: bool,
    /// A directory with the guest's programs, built before (`cargo xtask guest`) [default: they are
    /// built from the source tree]
    #[arg(long, value_name = "DIR", conflicts_with = "source")]
    programs: Option<PathBuf>,
    /// Memtwin's source tree, which has the guest's programs [default: the one this was built from]
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    sweep: SweepArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) output: OutputArgs,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    /// Yes
    On,
    /// No
    Off,
}

/// `--sweep`, and what belongs to it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Sweep")]
struct SweepArgs {
    /// Try a grid of dirty rates and bandwidths, and tell what was predicted beside what came of it
    /// (docs/migrate.md)
    #[arg(long, conflicts_with_all = ["hops", "bandwidth", "no_load", "fault"])]
    sweep: bool,
    /// The load's intervals, in milliseconds; a single --load gives its pages
    #[arg(long, value_delimiter = ',', default_value = "50,20,10,5", requires = "sweep", value_name = "MS,…", value_parser = clap::value_parser!(u64).range(1..60_000))]
    sweep_intervals: Vec<u64>,
    /// The bandwidths, in bits per second (100M is 12.5 million bytes per second)
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "100M,1G",
        requires = "sweep",
        value_name = "BITS,…"
    )]
    sweep_bandwidths: Vec<BitRate>,
    /// Between which intervals, in milliseconds, to look for the smallest one that converges on
    /// 1 Gbit/s; `none`: it is not looked for
    #[arg(long, default_value = "1,50", requires = "sweep", value_name = "MS,MS|none")]
    sweep_bounds: SweepBounds,
}

impl Migrate {
    /// What is asked for.
    ///
    /// Errors: a parameter is none, or this program can't be found.
    pub(crate) fn into_config(self) -> Result<MigrationConfig, Failure> {
        let plan = match self.plan.as_os_str() == "seed" {
            true => PlanSource::Reference,
            false => PlanSource::File(self.plan),
        };
        let load = match self.no_load {
            true => GuestLoad::Idle,
            false if self.load.is_empty() => GuestLoad::Scaled,
            false => GuestLoad::Given(self.load),
        };
        Ok(MigrationConfig {
            hosts: self.hosts,
            lab_state: self.state,
            plan,
            memtwin: std::env::current_exe().map_err(Failure::environment)?,
            arch: self.arch,
            memory: self.memory.map(|memory| memory.0),
            cpus: self.cpus,
            destination_cpu: self.destination_cpu,
            destination_machine: self.destination_machine,
            load,
            work_time: self.seconds.0,
            hops: self.hops,
            bandwidth: self.bandwidth.map(|bandwidth| bandwidth.0),
            downtime_limit: self.downtime_limit.map(|limit| limit.0),
            capabilities: self.capability,
            parameters: self
                .parameter
                .iter()
                .map(|text| parameter(text))
                .collect::<Result<_, _>>()?,
            timeout: self.timeout.0,
            faults: self.fault,
            verify_ram: self.verify_ram == Switch::On,
            control: self.control,
            disk: self.disk,
            keep: self.keep,
            programs: self.programs,
            source: self.source,
            sweep: self.sweep.into_config(),
        })
    }
}

impl SweepArgs {
    /// The sweep, if one is asked for.
    fn into_config(self) -> Option<SweepConfig> {
        self.sweep.then_some(SweepConfig {
            intervals_ms: self.sweep_intervals,
            bandwidths: self.sweep_bandwidths,
            bounds_ms: self.sweep_bounds.0,
        })
    }
}

/// A parameter of QEMU's, `NAME=VALUE`.
fn parameter(text: &str) -> Result<(String, Value), Failure> {
    let wrong = || Failure::usage(format!("--parameter {text}: expected NAME=VALUE"));
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    Ok((name.to_owned(), value))
}
