//! The machines, one after another.

use super::merged::Merged;
use super::plan::{Part, Place, Plan, named};
use super::{Check, Kernel};
use crate::lab::talk::Talk;
use memtwin_lab::board::{BoardSpec, ConsoleBoard};
use memtwin_lab::host::{self, Host, HostError};
use memtwin_lab::image::{Image, ImageError};
use memtwin_lab::kernel::KernelError;
use memtwin_lab::remote_runner::{
    RemoteError, RemoteRunner, RunOutput, check_image, check_on_console,
};
use memtwin_lab::{MachineError, Progress};
use memtwin_report::Failure;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a machine may take to say what it is.
const SHORT: Duration = Duration::from_secs(60);

/// Checks each place of the plan. Everything that is booted is built before, so that what can't be
/// had is known before anything has run.
///
/// Errors: an image can't be built.
pub(super) fn check(
    args: &Check,
    plan: &Plan,
    folder: &Path,
    merged: &mut Merged,
    talk: &mut Talk,
) -> Result<(), Failure> {
    let mut images = Vec::new();
    for place in &plan.places {
        images.push(match place {
            Place::Board(kernel) => Some(image(*kernel, talk)?),
            Place::Host(_) => None,
        });
    }
    for (place, image) in plan.places.iter().zip(images) {
        if talk.is_cancelled() {
            break;
        }
        match (place, image) {
            (Place::Board(kernel), Some(Ok(image))) => {
                let log = folder.join(format!("console-{kernel}"));
                on_board(args, *kernel, &image, &plan.parts, &log, merged, talk);
            }
            (place, Some(Err(reason))) => {
                talk.say(&format!("{}: {reason}", place.label()));
                merged.skipped(&place.label(), &plan.parts, &reason);
            }
            (Place::Host(host), _) => on_host(args, host, plan, merged, talk),
            (Place::Board(_), None) => {}
        }
    }
    Ok(())
}

/// What a board boots, or why its cases are skipped.
fn image(kernel: Kernel, talk: &mut Talk) -> Result<Result<Image, String>, Failure> {
    match check_image(kernel.flavour(), talk) {
        Ok(image) => Ok(Ok(image)),
        Err(RemoteError::Image(ImageError::Kernel(error @ KernelError::NotBuilt { .. }))) => {
            Ok(Err(error.to_string()))
        }
        Err(error) => Err(Failure::environment(error)),
    }
}

fn on_board(
    args: &Check,
    kernel: Kernel,
    image: &Image,
    parts: &[Part],
    log: &Path,
    merged: &mut Merged,
    talk: &mut Talk,
) {
    let label = kernel.to_string();
    let spec = BoardSpec {
        cpu: args.cpu.clone(),
        cpus: args.cpus,
        memory: args.memory,
        append: kernel.flavour().command_line().to_owned(),
    };
    talk.say(&format!("booting an emulated board with a kernel of {kernel} pages"));
    let mut board = match ConsoleBoard::boot(&spec, image, log, talk) {
        Ok(board) => board,
        // Nothing ran, and the run says that it was interrupted.
        Err(_) if talk.is_cancelled() => return,
        Err(error) => return merged.failed(&label, parts, &error.into()),
    };
    talk.say(&format!("board: {}", board.about));
    let check = |part: &Part, talk: &mut Talk| {
        check_on_console(&mut board, &part.arguments, args.timeout.0, talk)
    };
    let alive = each(parts, check, &|_| label.clone(), &label, merged, talk);
    if alive && let Err(error) = board.off(talk) {
        talk.say(&format!("{label}: {error}"));
    }
}

fn on_host(args: &Check, host: &Arc<dyn Host>, plan: &Plan, merged: &mut Merged, talk: &mut Talk) {
    let arch = host::run(&**host, "uname -m", SHORT, talk).map(|arch| arch.trim().to_owned());
    let is_x86 = arch.as_ref().is_ok_and(|arch| arch == "x86_64");
    let parts = if is_x86 { &plan.elsewhere } else { &plan.parts };
    let unknown = named("?", host.name());
    talk.say(&format!("{}: {}", host.name(), arch.as_deref().unwrap_or("?")));
    // What runs here runs here.
    let own = std::env::current_exe().ok().filter(|_| host.name() == "local");
    let installed = RemoteRunner::with_folder(Arc::clone(host), talk).map_err(RemoteError::from);
    let installed = installed.and_then(|runner| {
        runner.install(own.as_deref(), talk)?;
        Ok(runner)
    });
    let runner = match installed {
        Ok(runner) => runner,
        Err(_) if talk.is_cancelled() => return,
        Err(error) => return merged.failed(&unknown, parts, &error),
    };
    let label =
        |of: &memtwin_report::record::Host| named(&format!("{}k", of.page_size >> 10), host.name());
    let check = |part: &Part, talk: &mut Talk| runner.check(&part.arguments, args.timeout.0, talk);
    each(parts, check, &label, &unknown, merged, talk);
}

/// Runs each part. Whether the machine was there to the end.
fn each(
    parts: &[Part],
    mut check: impl FnMut(&Part, &mut Talk) -> Result<RunOutput, RemoteError>,
    label: &dyn Fn(&memtwin_report::record::Host) -> String,
    unknown: &str,
    merged: &mut Merged,
    talk: &mut Talk,
) -> bool {
    let mut place = unknown.to_owned();
    for (n, part) in parts.iter().enumerate() {
        talk.say(&format!("{} cases: check {}", part.names.len(), part.arguments.join(" ")));
        let (record, error) = match check(part, talk) {
            Ok(RunOutput { record, .. }) => (Some(record), None),
            Err(RemoteError::Broken { error, record }) => (Some(record), Some(*error)),
            Err(error) => (None, Some(error)),
        };
        // What has ended has its verdict, whatever became of the machine.
        let mut left = part.clone();
        if let Some(record) = record {
            match merged.add(record, label) {
                Ok((label, known)) => {
                    left.names.retain(|name| !known.contains(name));
                    place = label;
                }
                Err(reason) => {
                    merged.unknown(&place, std::slice::from_ref(part), &reason);
                    left.names.clear();
                }
            }
        }
        let Some(error) = error else { continue };
        if talk.is_cancelled() {
            return false;
        }
        let gone = is_gone(&error);
        let more = if gone { &parts[n + 1..] } else { &[] };
        talk.say(&format!("{place}: no verdict on {} cases", left.names.len()));
        if left.names.is_empty() {
            // All that we know of have come, but it may have had more to say: no pass.
            left.names.push("check".to_owned());
        }
        let left: Vec<Part> = std::iter::once(left).chain(more.iter().cloned()).collect();
        merged.failed(&place, &left, &error);
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
