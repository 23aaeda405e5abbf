//! The record of what was withheld: a line of `key=value` words for each page.

#![forbid(unsafe_code)]

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;

/// The variable that names the file.
const VARIABLE: &str = "MEMTWIN_SHIM_LOG";

/// Writes a line, if a file is named.
///
/// Panics, which ends the process, if it can't: a lie that is not on record proves nothing.
pub(crate) fn note(line: fmt::Arguments<'_>) {
    let Some(path) = std::env::var_os(VARIABLE) else { return };
    // In one write to a file opened for appending, so that lines of several threads and processes
    // do not mix.
    let line = format!("{line}\n");
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    if let Err(error) = written {
        panic!("{VARIABLE}={}: {error}", path.display());
    }
}
