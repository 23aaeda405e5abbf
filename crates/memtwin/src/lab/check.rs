//! `memtwin lab run check`: an emulated ARMv8 board is booted, and `memtwin check` runs on its own
//! KVM/arm64.

use super::Check;
use super::replicate::need_qemu;
use super::talk::Talk;
use crate::failure::Failure;
use memtwin_lab::board::BoardSpec;
use memtwin_lab::experiments::{self, ExperimentError};
use memtwin_lab::{Arch, Flavour, Progress};
use memtwin_pages::Layout;
use memtwin_replicate::Stop;
use memtwin_report::{ExitCode, RunRecord, Trial, exit};

/// Boots, checks, and writes the board's record as our own.
pub(super) fn run(args: &Check, command: String, stop: &Stop) -> Result<ExitCode, Failure> {
    crate::output::probe(&args.output)?;
    need_qemu(Arch::Aarch64)?;
    let mut talk = Talk::new(args.output.quiet, stop);
    let spec = BoardSpec { cpu: args.cpu.clone(), cpus: args.cpus, memory: args.memory };
    let flavour = if args.kernel_16k { Flavour::Pages16K } else { Flavour::Standard };
    let image = experiments::image(flavour, &mut talk).map_err(Failure::environment)?;
    let folder = tempfile::Builder::new().prefix("memtwin-lab-").tempdir();
    let folder = folder.map_err(|error| {
        Failure::environment(format!("{}: {error}; set TMPDIR", std::env::temp_dir().display()))
    })?;
    let log = folder.path().join("console");
    talk.say("booting an emulated board");
    let limit = args.timeout.0;
    let done = experiments::check(&spec, &image, &log, &args.arguments, limit, &mut talk);
    let record = match done {
        Ok(outcome) => {
            let mut record: RunRecord = serde_json::from_value(outcome.record)
                .map_err(|error| Failure::environment(format!("the board's record: {error}")))?;
            record.command = format!("{command} (on the board: {})", record.command);
            record
        }
        // What it left is shown: it may be the kernel's last words.
        Err(error @ (ExperimentError::Machine(_) | ExperimentError::NoRecord { .. })) => {
            let trial = Trial::new("lab/check", "emulated", &Layout::default());
            RunRecord::new(command, vec![trial.inconclusive(error, Vec::new())])
        }
        Err(error) => return Err(Failure::environment(error)),
    };
    let code = exit::of_cases(&record.cases, false, stop.is_set());
    crate::output::write(&args.output, &record, &[])?;
    Ok(code)
}
