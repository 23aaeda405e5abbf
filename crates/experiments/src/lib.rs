//! Experiments: guests that are booted to try Memtwin on, here, on emulated ARMv8 boards, or on other
//! machines by ssh.
//!
//! Each is a configuration and a function: [`CheckExperiment`] runs `memtwin check` on machines with kernels of
//! several page sizes, [`ReplicateExperiment`] replicates the device memory of a Linux guest and sums it on three
//! sides, [`AuditExperiment`] audits a guest whose devices write its RAM. What runs in this process is a call of
//! `memtwin_session`. What runs on another machine is a command of ours there (`remote_words` has every word that is
//! typed there), and what comes back is its run record, never what it printed.
//!
//! Nothing here knows the command line or prints: progress goes to a [`memtwin_lab::Progress`], what a person
//! reads stands in the [`ExperimentReport`].

#![forbid(unsafe_code)]

mod audit;
mod board_kernels;
mod boards;
mod check;
mod config;
mod console;
mod local_receiver;
mod merged_report;
mod page_sizes;
mod probe;
mod remote_experiment;
mod remote_machine;
mod remote_words;
mod replicate;
mod run_result;
mod sum_checks;
mod twin_file;
mod window_controller;

pub use audit::AuditExperiment;
pub use board_kernels::{build_kernel, preview_kernel};
pub use boards::{LabUpConfig, hold_boards};
pub use check::{CheckExperiment, CheckPart};
pub use config::{AuditExperimentConfig, CheckExperimentConfig, ReplicateExperimentConfig};
pub use console::{ConsoleStreams, attend_console};
pub use page_sizes::pages_of;
pub use probe::{probe_host, probe_table, probe_this_machine};
pub use remote_machine::RemoteArgs;
pub use replicate::ReplicateExperiment;
pub use run_result::ExperimentReport;

use memtwin_lab::image::{ImageSpec, SUITE};
use memtwin_lab::running_lab::RunningLabError;
use memtwin_lab::{Arch, Flavour};
use memtwin_report::Failure;
use std::path::PathBuf;
use std::time::Duration;

/// How long a guest of ours may stand still: an emulated board takes its time.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// A folder of a run's own among the temporary files.
fn run_folder() -> Result<tempfile::TempDir, Failure> {
    tempfile::Builder::new().prefix("memtwin-lab-").tempdir().map_err(|error| {
        Failure::environment(format!("{}: {error}; set TMPDIR", std::env::temp_dir().display()))
    })
}

/// The image of a guest that has these programs; what the console and PCI need is built into its kernel.
fn guest_image<'s>(arch: Arch, programs: &'s [PathBuf]) -> ImageSpec<'s> {
    let (suite, kernel) = (SUITE, Flavour::Standard);
    ImageSpec { arch, suite, kernel, modules: &[], programs, files: &[] }
}

/// A lab, or a machine, that is not found.
fn not_found(error: RunningLabError) -> Failure {
    if error.is_usage() { Failure::usage(error) } else { Failure::environment(error) }
}
