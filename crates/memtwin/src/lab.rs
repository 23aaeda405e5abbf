//! `memtwin lab`: guests that are booted to experiment on. What is asked for is done by `memtwin_experiments`; here
//! it is shown.

mod background;

use crate::cli::OutputArgs;
use crate::cli::lab::{
    DiskImage, LabArgs, LabBuild, LabCommand, LabExperiment, LabPlace, LabProbe, LabUp,
};
use crate::invocation::Invocation;
use crate::output;
use crate::stderr_progress::{StderrNotices, StderrProgress};
use memtwin_experiments::{self as experiments, ConsoleStreams, ExperimentReport};
use memtwin_lab::disk::DiskSpec;
use memtwin_lab::image::SUITE;
use memtwin_lab::provision;
use memtwin_lab::running_lab::{self, RunningLab, RunningLabError};
use memtwin_replicate::CancelToken;
use memtwin_report::{ExitCode, Failure};
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::os::unix::process::CommandExt;

/// Does it.
pub(crate) fn run(
    args: LabArgs,
    invocation: &Invocation,
    stop: &CancelToken,
) -> Result<ExitCode, Failure> {
    let done = match args.command {
        LabCommand::Build(args) => build(&args, stop),
        LabCommand::Plan { name: _ } => {
            shown(memtwin_migrate::plan::SEED.lines().map(str::to_owned))
        }
        LabCommand::Image(args) => image(&args, stop),
        LabCommand::Up(args) => up(args, stop),
        LabCommand::Ssh { name, command, place } => ssh(&place, &name, &command),
        LabCommand::Console { name, follow, place } => console(&place, &name, follow, stop),
        LabCommand::Probe(args) => probe(&args, stop),
        LabCommand::Down { place } => {
            place.folder().and_then(|folder| RunningLab::end(&folder)).map_err(not_found)?;
            Ok(ExitCode::Verified)
        }
        LabCommand::Run { experiment } => experiment_run(experiment, invocation, stop),
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

/// Runs an experiment, and writes its report.
fn experiment_run(
    experiment: LabExperiment,
    invocation: &Invocation,
    stop: &CancelToken,
) -> Result<ExitCode, Failure> {
    let command = invocation.command.clone();
    match experiment {
        LabExperiment::Replicate(args) => {
            let (is_preview, to) = (args.dry_run, args.output.clone());
            let experiment = experiments::ReplicateExperiment::new(args.into_config()?)?;
            let mut progress = StderrProgress::new(to.quiet, stop);
            if is_preview && let Some(lines) = experiment.preview(&mut progress)? {
                output::list(lines.iter())?;
                return Ok(ExitCode::Verified);
            }
            output::probe(&to)?;
            written(&to, invocation, experiment.run(command, stop, &mut progress)?)
        }
        LabExperiment::Audit(args) => {
            let to = args.output.clone();
            let experiment = experiments::AuditExperiment::new(args.into_config())?;
            output::probe(&to)?;
            let mut progress = StderrProgress::new(to.quiet, stop);
            written(&to, invocation, experiment.run(command, stop, &mut progress)?)
        }
        LabExperiment::Check(args) => {
            let (is_preview, to) = (args.dry_run, args.output.clone());
            let experiment = experiments::CheckExperiment::new(args.into_config()?)?;
            if is_preview {
                output::list(experiment.names())?;
                return Ok(ExitCode::Verified);
            }
            output::probe(&to)?;
            let mut progress = StderrProgress::new(to.quiet, stop);
            written(&to, invocation, experiment.run(command, stop, &mut progress)?)
        }
        LabExperiment::Migrate(args) => crate::migrate::run(&args, invocation, stop),
    }
}

/// Writes an experiment's report.
fn written(
    to: &OutputArgs,
    invocation: &Invocation,
    report: ExperimentReport,
) -> Result<ExitCode, Failure> {
    output::write(to, invocation, report.record, Vec::new(), report.code)?;
    Ok(report.code)
}

/// A lab, or a machine, that is not found.
fn not_found(error: RunningLabError) -> Failure {
    if error.is_usage() { Failure::usage(error) } else { Failure::environment(error) }
}

/// Lines on standard output; a reader that has seen enough is no failure.
fn shown(lines: impl IntoIterator<Item = String>) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    match lines.into_iter().try_for_each(|line| writeln!(out, "{line}")) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::environment(error)),
        _ => Ok(ExitCode::Verified),
    }
}

/// `memtwin lab up`.
fn up(args: LabUp, stop: &CancelToken) -> Result<ExitCode, Failure> {
    provision::need_qemu(memtwin_lab::Arch::Aarch64).map_err(Failure::environment)?;
    let folder = running_lab::folder(args.state.as_deref()).map_err(not_found)?;
    if args.detach {
        background::detach(&folder)?;
    } else {
        let mut progress = StderrProgress::new(args.quiet, stop);
        experiments::hold_boards(&args.into_config(folder), stop, &mut progress)?;
    }
    Ok(ExitCode::Verified)
}

/// `memtwin lab ssh`.
fn ssh(place: &LabPlace, name: &str, words: &[OsString]) -> Result<ExitCode, Failure> {
    let board = running_lab::board(name, place.state.as_deref()).map_err(not_found)?;
    let mut command = board.ssh().options();
    command.args(["--", board.ssh().target()]).args(words);
    // A person's ssh is ssh itself: its terminal, its signals, its exit code.
    Err(Failure::environment(format!("ssh: {}", command.exec())))
}

/// `memtwin lab console`.
fn console(
    place: &LabPlace,
    name: &str,
    follow: bool,
    stop: &CancelToken,
) -> Result<ExitCode, Failure> {
    let board = running_lab::board(name, place.state.as_deref()).map_err(not_found)?;
    let mut stdout = io::stdout();
    let streams = ConsoleStreams {
        input: rustix::stdio::stdin(),
        is_terminal: stdout.is_terminal(),
        output: &mut stdout,
        notices: &mut StderrNotices,
    };
    experiments::attend_console(&board, follow, streams, stop)?;
    Ok(ExitCode::Verified)
}

/// `memtwin lab probe`.
fn probe(args: &LabProbe, stop: &CancelToken) -> Result<ExitCode, Failure> {
    let found = if args.host == "local" {
        experiments::probe_this_machine()
    } else {
        let host = running_lab::named_host(&args.host, args.state.as_deref()).map_err(not_found)?;
        experiments::probe_host(&*host, &mut StderrProgress::new(true, stop))?
    };
    if args.json {
        return shown([format!("{found:#}")]);
    }
    shown(experiments::probe_table(&args.host, &found))
}

/// `memtwin lab build`.
fn build(args: &LabBuild, stop: &CancelToken) -> Result<ExitCode, Failure> {
    let mut progress = StderrProgress::new(args.quiet, stop);
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = args.jobs.unwrap_or(cpus).max(1);
    for kernel in crate::values::distinct(&args.kernel) {
        if args.dry_run {
            output::list(experiments::preview_kernel(kernel.flavour(), &mut progress)?.iter())?;
            continue;
        }
        let mut show = |line: String| output::list(std::iter::once(line));
        experiments::build_kernel(kernel.flavour(), jobs, &mut show, &mut progress)?;
    }
    memtwin_lab::Progress::say(&mut progress, "built");
    Ok(ExitCode::Verified)
}

/// `memtwin lab image`: the guest's disk, made without root and without a mount.
fn image(args: &DiskImage, stop: &CancelToken) -> Result<ExitCode, Failure> {
    let mut progress = StderrProgress::new(args.quiet, stop);
    let (folder, source) = (args.programs.as_deref(), args.source.as_deref());
    let programs = provision::guest_programs(args.arch, folder, source, &mut progress);
    let programs = programs.map_err(Failure::environment)?;
    let cache = provision::open_cache(&mut progress).map_err(Failure::environment)?;
    let spec = DiskSpec {
        arch: args.arch,
        suite: SUITE,
        fstype: &args.fstype,
        bytes: args.size.0,
        programs: &programs,
        contents: args.contents.as_deref(),
    };
    spec.build(&cache, &args.file, &mut progress).map_err(Failure::environment)?;
    let (file, mebibytes) = (args.file.display(), args.size.0 >> 20);
    shown([format!("{file}: {}, {mebibytes} MiB, e2fsck clean", args.fstype)])
}
