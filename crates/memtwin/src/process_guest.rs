//! The process source's child is this program again, by a command that is not for people.

use memtwin_process::{Config, ProcessGuest, StartError, writer_main};
use memtwin_report::ExitCode;
use memtwin_report::Failure;
use memtwin_stressor::Stressor;
use std::fs::File;
use std::process::Command;

/// The hidden command's name.
const WRITER: &str = "process-writer";

/// Makes a guest of `threads` threads in a child process.
pub(crate) fn make(
    bytes: u64,
    threads: usize,
    stressor: Stressor,
    seed: u64,
    file: Option<File>,
) -> Result<ProcessGuest, StartError> {
    // Itself, also when the file at its path has been replaced meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command.arg(WRITER);
    ProcessGuest::spawn(command, Config { file, bytes, threads, stressor, seed })
}

/// The child's life; it ends with its parent.
pub(crate) fn writer() -> Result<ExitCode, Failure> {
    writer_main().map(|()| ExitCode::Verified).map_err(Failure::environment)
}
