//! The machines are checked, one after another.

use super::plan::{CheckMachine, CheckPart, ExperimentPlan, label_of};
use super::results::CheckResults;
use crate::config::CheckExperimentConfig;
use crate::page_sizes::pages_of;
use memtwin_lab::board::{BoardSpec, ConsoleBoard};
use memtwin_lab::host::{self, Host, HostError};
use memtwin_lab::image::{Image, ImageError};
use memtwin_lab::kernel::KernelError;
use memtwin_lab::remote_runner::{
    RemoteError, RemoteRunner, RunOutput, check_image, check_on_console,
};
use memtwin_lab::{Flavour, MachineError, Progress};
use memtwin_report::Failure;
use memtwin_report::record::HostFacts;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a machine may take to say what it is.
const SHORT_TIMEOUT: Duration = Duration::from_secs(60);

/// Checks each machine of the plan. Everything that is booted is built before, so that what can't be
/// had is known before anything has run.
///
/// Errors: an image can't be built.
pub(super) fn check(
    config: &CheckExperimentConfig,
    plan: &ExperimentPlan,
    folder: &Path,
    results: &mut CheckResults,
    progress: &mut dyn Progress,
) -> Result<(), Failure> {
    let mut images = Vec::new();
    for machine in &plan.machines {
        images.push(match machine {
            CheckMachine::Board(kernel) => boot_image(*kernel, plan.program.as_deref(), progress)?,
            CheckMachine::Host(_) => BootImage::None,
        });
    }
    for (machine, image) in plan.machines.iter().zip(images) {
        if progress.is_cancelled() {
            break;
        }
        match (machine, image) {
            (CheckMachine::Board(kernel), BootImage::Ready(image)) => {
                let log = folder.join(format!("console-{}", pages_of(*kernel)));
                on_board(config, *kernel, &image, &plan.parts, &log, results, progress);
            }
            (machine, BootImage::NotBuilt(reason)) => {
                progress.say(&format!("{}: {reason}", machine.label()));
                results.skipped(&machine.label(), &plan.parts, &reason);
            }
            (CheckMachine::Host(host), _) => on_host(config, host, plan, results, progress),
            (CheckMachine::Board(_), BootImage::None) => {}
        }
    }
    Ok(())
}

/// What a machine boots.
enum BootImage {
    /// It runs already.
    None,
    /// This.
    Ready(Image),
    /// Its kernel has not been built, so its cases are skipped; why.
    NotBuilt(String),
}

/// What a board boots.
fn boot_image(
    kernel: Flavour,
    program: Option<&Path>,
    progress: &mut dyn Progress,
) -> Result<BootImage, Failure> {
    match check_image(kernel, program, progress) {
        Ok(image) => Ok(BootImage::Ready(image)),
        Err(RemoteError::Image(ImageError::Kernel(error @ KernelError::NotBuilt { .. }))) => {
            Ok(BootImage::NotBuilt(error.to_string()))
        }
        Err(error) => Err(Failure::environment(error)),
    }
}

fn on_board(
    config: &CheckExperimentConfig,
    kernel: Flavour,
    image: &Image,
    parts: &[CheckPart],
    log: &Path,
    results: &mut CheckResults,
    progress: &mut dyn Progress,
) {
    let label = pages_of(kernel).to_owned();
    let append = kernel.command_line().to_owned();
    let spec = BoardSpec { append, ..config.board.clone() };
    progress.say(&format!("booting an emulated board with a kernel of {label} pages"));
    let mut board = match ConsoleBoard::boot(&spec, image, log, progress) {
        Ok(board) => board,
        // Nothing ran, and the run says that it was interrupted.
        Err(_) if progress.is_cancelled() => return,
        Err(error) => return results.failed(&label, parts, &error.into()),
    };
    progress.say(&format!("board: {}", board.about));
    let check = |part: &CheckPart, progress: &mut dyn Progress| {
        check_on_console(&mut board, &part.arguments, config.timeout, progress)
    };
    let alive = each(parts, check, &|_| label.clone(), &label, results, progress);
    if alive && let Err(error) = board.off(progress) {
        progress.say(&format!("{label}: {error}"));
    }
}

fn on_host(
    config: &CheckExperimentConfig,
    host: &Arc<dyn Host>,
    plan: &ExperimentPlan,
    results: &mut CheckResults,
    progress: &mut dyn Progress,
) {
    let arch =
        host::run(&**host, "uname -m", SHORT_TIMEOUT, progress).map(|arch| arch.trim().to_owned());
    let is_x86 = arch.as_ref().is_ok_and(|arch| arch == "x86_64");
    let parts = if is_x86 { &plan.other_parts } else { &plan.parts };
    let unknown = label_of("?", host.name());
    progress.say(&format!("{}: {}", host.name(), arch.as_deref().unwrap_or("?")));
    // What runs here runs here.
    let own = std::env::current_exe().ok().filter(|_| host.name() == "local");
    let program = own.as_deref().or(plan.program.as_deref());
    let installed =
        RemoteRunner::with_folder(Arc::clone(host), progress).map_err(RemoteError::from);
    let installed = installed.and_then(|runner| {
        runner.install(program, progress)?;
        Ok(runner)
    });
    let runner = match installed {
        Ok(runner) => runner,
        Err(_) if progress.is_cancelled() => return,
        Err(error) => return results.failed(&unknown, parts, &error),
    };
    let label = |of: &HostFacts| label_of(&format!("{}k", of.page_size >> 10), host.name());
    let check = |part: &CheckPart, progress: &mut dyn Progress| {
        runner.check(&part.arguments, config.timeout, progress)
    };
    each(parts, check, &label, &unknown, results, progress);
}

/// Runs each part. Whether the machine was there to the end.
fn each(
    parts: &[CheckPart],
    mut check: impl FnMut(&CheckPart, &mut dyn Progress) -> Result<RunOutput, RemoteError>,
    label: &dyn Fn(&HostFacts) -> String,
    unknown: &str,
    results: &mut CheckResults,
    progress: &mut dyn Progress,
) -> bool {
    let mut place = unknown.to_owned();
    for (n, part) in parts.iter().enumerate() {
        progress.say(&format!("{} cases: check {}", part.names.len(), part.arguments.join(" ")));
        let (record, error) = match check(part, progress) {
            Ok(RunOutput { record, .. }) => (Some(record), None),
            Err(RemoteError::Broken { error, record }) => (Some(record), Some(*error)),
            Err(error) => (None, Some(error)),
        };
        // What has ended has its verdict, whatever became of the machine.
        let mut left = part.clone();
        if let Some(record) = record {
            match results.add(record, label) {
                Ok((label, known)) => {
                    left.names.retain(|name| !known.contains(name));
                    place = label;
                }
                Err(reason) => {
                    results.unknown(&place, std::slice::from_ref(part), &reason);
                    left.names.clear();
                }
            }
        }
        let Some(error) = error else { continue };
        if progress.is_cancelled() {
            return false;
        }
        let gone = is_gone(&error);
        let more = if gone { &parts[n + 1..] } else { &[] };
        progress.say(&format!("{place}: no verdict on {} cases", left.names.len()));
        if left.names.is_empty() {
            // All that we know of have come, but it may have had more to say: no pass.
            left.names.push("check".to_owned());
        }
        let left: Vec<CheckPart> = std::iter::once(left).chain(more.iter().cloned()).collect();
        results.failed(&place, &left, &error);
        if gone {
            return false;
        }
    }
    true
}

/// Whether a machine takes no more orders after this.
fn is_gone(error: &RemoteError) -> bool {
    match error {
        RemoteError::Machine(error) => !matches!(error, MachineError::Refused { .. }),
        RemoteError::Host(error) => !matches!(error, HostError::Failed { .. }),
        _ => false,
    }
}
