//! `memtwin migrate`, and `memtwin lab run migrate`: 2014's first experiment. A loaded guest moves, and RAM,
//! disk, guest and network are judged in one record.

mod board_faults;
mod clocks;
mod conclusion;
mod experiment;
mod fault;
mod faults;
mod holder;
mod hosts;
mod judge;
mod local;
mod machines;
mod network;
mod nfs;
mod seed;
mod settings;
mod site;
mod spec;
mod ssh;
mod stage;
mod sweep;
mod tell;
mod work;

use crate::cli::Output;
use crate::lab::talk::Talk;
use crate::values::{Size, Time};
use clap::{Args, ValueEnum};
use experiment::{Experiment, Found};
use fault::Fault;
use holder::Left;
use hosts::Hosts;
use memtwin_lab::Arch;
use memtwin_migrate::plan::{Plan, SEED};
use memtwin_replicate::Stop;
use memtwin_report::Failure;
use memtwin_report::{ExitCode, RunRecord, exit};
use std::fmt::Display;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

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
    pub(crate) hosts: Hosts,
    /// Where `emulated:NAME` is up, if it was started with --state
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// The lab: `seed`, or a file as `memtwin lab plan seed` prints it
    #[arg(long, default_value = "seed", value_name = "PLAN")]
    pub(crate) plan: PathBuf,
    /// The guest's architecture
    #[arg(long, default_value = "aarch64", value_name = "aarch64")]
    pub(crate) arch: Arch,
    /// The guest's memory [default: 256M, or as the plan says]
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<Size>,
    /// How many CPUs the guest has [default: 1, or as the plan says]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=2))]
    pub(crate) cpus: Option<u16>,
    /// QEMU's name of the destination's CPU, to see it refused [default: as the source's]
    #[arg(long, value_name = "CPU")]
    pub(crate) destination_cpu: Option<String>,
    /// QEMU's name of the destination's machine [default: as the source's]
    #[arg(long, value_name = "MACHINE")]
    pub(crate) destination_machine: Option<String>,
    /// The load: the parameters of dirtyram, as `409600 2048 50`; several for several copies [default:
    /// these, scaled to the guest's memory]
    #[arg(long, value_name = "PAGES DIRTY MS", conflicts_with = "no_load")]
    pub(crate) load: Vec<String>,
    /// No load
    #[arg(long)]
    pub(crate) no_load: bool,
    /// How long the load runs before and after the move
    #[arg(long, default_value = "5s", value_name = "TIME")]
    pub(crate) seconds: Time,
    /// How often the guest moves: to the destination, back to the source, and so on
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) hops: u16,
    /// Bytes per second that QEMU may send [default: QEMU's]
    #[arg(long, value_name = "SIZE")]
    pub(crate) bandwidth: Option<Size>,
    /// How long the guest may stand still at the end [default: QEMU's, 300ms]
    #[arg(long, value_name = "TIME")]
    pub(crate) downtime_limit: Option<Time>,
    /// A migration capability of QEMU's: multifd, xbzrle, zero-copy-send, auto-converge, postcopy-ram, …
    #[arg(long, value_name = "NAME")]
    pub(crate) capability: Vec<String>,
    /// A migration parameter of QEMU's: multifd-channels=4, …
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) parameter: Vec<String>,
    /// Give up after so long; the guest runs on at the source (exit code 10) [with --sweep: each, 60s]
    #[arg(
        long,
        default_value = "400s",
        default_value_if("sweep", "true", "60s"),
        value_name = "TIME"
    )]
    pub(crate) timeout: Time,
    /// Break something on purpose: `cut-link:5s` (the link of the board to which the guest moves) or
    /// `stop-nfs:10s`, once something was sent; `stop-nfs:10s@load` before, `cut-link:5s@2` in the second
    /// hop; without a time, until the move is over
    #[arg(long, value_name = "WHAT[:TIME][@HOP]")]
    pub(crate) fault: Vec<Fault>,
    /// Whether both guests stand still for their memory to be compared page by page
    #[arg(long, value_enum, default_value = "on")]
    pub(crate) verify_ram: Switch,
    /// Then flip a word at the destination, which must be found, and flip it back
    #[arg(long)]
    pub(crate) control: bool,
    /// The guest's disk, made before by `lab image`; a copy of it is used [default: made for this]
    #[arg(long, value_name = "FILE")]
    pub(crate) disk: Option<PathBuf>,
    /// Keep disk, consoles and what QEMU said
    #[arg(long)]
    pub(crate) keep: bool,
    /// A directory with the guest's programs, built before (`cargo xtask guest`) [default: they are
    /// built from the source tree]
    #[arg(long, value_name = "DIR", conflicts_with = "source")]
    pub(crate) programs: Option<PathBuf>,
    /// Memtwin's source tree, which has the guest's programs [default: the one this was built from]
    #[arg(long, value_name = "DIR")]
    pub(crate) source: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) sweep: sweep::SweepArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) output: Output,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// Yes
    On,
    /// No
    Off,
}

/// Does it, and writes the report.
pub(crate) fn run(args: &Migrate, command: String, stop: &Stop) -> Result<ExitCode, Failure> {
    if args.control && args.verify_ram == Switch::Off {
        return Err(Failure::usage("--control needs --verify-ram on"));
    }
    if args.hosts != Hosts::Emulated && !args.fault.is_empty() {
        return Err(Failure::usage("--fault needs --hosts emulated: boards and a network of ours"));
    }
    if let Some(fault) = args.fault.iter().find(|fault| fault.hop > args.hops) {
        return Err(Failure::usage(format!("--fault in hop {}: --hops {}", fault.hop, args.hops)));
    }
    if args.sweep.sweep {
        sweep::check(args)?;
    }
    crate::output::probe(&args.output)?;
    let left = Left::default();
    let done = found(args, stop, &left, &mut Talk::new(args.output.quiet, stop));
    let left = left.lines().join("\n");
    let found = match done {
        Err(_) if stop.is_set() && left.is_empty() => {
            let message = "interrupted; nothing is left behind".to_owned();
            return Err(Failure { code: ExitCode::Interrupted, message });
        }
        Err(_) if stop.is_set() => {
            let message = format!("interrupted\n{left}");
            return Err(Failure { code: ExitCode::Interrupted, message });
        }
        Err(Failure { code, message }) if !left.is_empty() => {
            return Err(Failure { code, message: format!("{message}\n{left}") });
        }
        found => found?,
    };
    let mut code = exit::of_cases(&found.cases, found.not_converged, stop.is_set());
    if found.cases.is_empty() && found.not_converged {
        code = ExitCode::NotConverged;
    }
    let mut record = RunRecord::new(command, found.cases);
    record.migration = found.migration;
    record.sweep = found.sweep;
    crate::output::write(&args.output, &record, &found.closing)?;
    match found.missed {
        // Nothing was shown of what was to be seen.
        Some(missed) if code == ExitCode::Verified => {
            Err(Failure::environment(format!("--fault: {missed}")))
        }
        _ if !left.is_empty() => {
            let code = if code == ExitCode::Verified { ExitCode::Environment } else { code };
            Err(Failure { code, message: left })
        }
        _ => Ok(code),
    }
}

/// Puts everything in its place, and takes it away again when it is over; what came of it.
fn found(args: &Migrate, stop: &Stop, left: &Left, talk: &mut Talk) -> Result<Found, Failure> {
    let mut stage = match &args.hosts {
        Hosts::Local => local::stage(args, talk)?,
        Hosts::Emulated => seed::stage(args, &plan(args)?, talk)?,
        Hosts::Two(both) => ssh::stage(args, &plan(args)?, both, left, talk)?,
        Hosts::Three(three) => site::stage(args, &plan(args)?, three, left, talk)?,
    };
    let found = match args.sweep.sweep {
        true => sweep::run(args, &mut stage, stop, talk),
        false => Experiment { args, stage: &mut stage, stop }.run(talk),
    };
    match stage.lost() {
        Some(message) => Err(Failure { code: ExitCode::Inconclusive, message }),
        None => found,
    }
}

/// The plan: the one that is built in, or a file.
fn plan(args: &Migrate) -> Result<Plan, Failure> {
    let mut plan = if args.plan.as_os_str() == "seed" {
        Plan::parse(SEED).map_err(Failure::usage)?
    } else {
        let failed =
            |error: &dyn Display| Failure::usage(format!("{}: {error}", args.plan.display()));
        // A fifo that nobody writes to is not waited for.
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&args.plan);
        let file = file.map_err(|error| failed(&error))?;
        if !file.metadata().is_ok_and(|about| about.is_file()) {
            return Err(failed(&"expected a regular file"));
        }
        Plan::read(file).map_err(|error| failed(&error))?
    };
    if let Some(memory) = args.memory {
        plan.guest.memory = memory.0 >> 20;
    }
    plan.guest.cpus = args.cpus.unwrap_or(plan.guest.cpus);
    Ok(plan)
}
