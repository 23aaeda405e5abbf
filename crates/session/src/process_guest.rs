//! The process source's child is the caller's program again.

use crate::helper::HelperCommand;
use memtwin_process::{Config, ProcessGuest, WriterStartError};
use memtwin_stressor::Stressor;
use std::fs::File;

/// Makes a guest of `threads` threads in a child process.
pub(crate) fn make(
    writer: &HelperCommand,
    bytes: u64,
    threads: usize,
    stressor: Stressor,
    seed: u64,
    file: Option<File>,
) -> Result<ProcessGuest, WriterStartError> {
    ProcessGuest::spawn(writer.command(), Config { file, bytes, threads, stressor, seed })
}
