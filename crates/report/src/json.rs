//! The record as JSON: where it goes, and how it is read back.

use crate::record::RunRecord;
use crate::save::{self, SaveError, SaveOption};
use crate::text::{clipped, shown};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file, or standard output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonTarget {
    /// `-`: standard output, where the record takes the table's place.
    Stdout,
    /// A file.
    File(PathBuf),
}

impl From<&OsStr> for JsonTarget {
    fn from(argument: &OsStr) -> Self {
        if argument == "-" { Self::Stdout } else { Self::File(argument.into()) }
    }
}

impl JsonTarget {
    /// Whether the record could be saved as things stand: asked before a run that takes long, so
    /// that its record is not lost at its end. Leaves nothing behind.
    pub fn probe(&self) -> Result<(), SaveError> {
        match self {
            Self::Stdout => Ok(()),
            Self::File(path) => save::probe(path, SaveOption::Json),
        }
    }
}

/// Writes the record as JSON, with a line break at its end.
pub fn write(record: &RunRecord, mut to: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut to, record)?;
    writeln!(to)
}

/// Saves the record: `path` holds the whole of it afterwards or, on error, what it held before.
///
/// A device, a pipe or a socket can't be replaced and is written to as it is.
pub fn save(record: &RunRecord, path: &Path) -> Result<(), SaveError> {
    save::save(path, SaveOption::Json, |to| write(record, to))
}

/// Why a record can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system refuses.
    #[error("can't read {}: {error}; expected a run record, as --json writes it", shown(path))]
    Io {
        /// The path that was asked for.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// It is no record, or not the whole of one.
    #[error("{}: expected a run record, as --json writes it: {}", shown(path), said(error))]
    Malformed {
        /// The path that was asked for.
        path: PathBuf,
        /// What is wrong with it, and where.
        #[source]
        error: serde_json::Error,
    },
}

/// What is wrong with a record, in one line: it may quote a name from there, of any length.
fn said(error: &serde_json::Error) -> String {
    clipped(&error.to_string(), 300)
}

/// Reads a record that was saved.
///
/// Errors: the file can't be read; it is no record, of another schema, cut short, or contradicts itself.
pub fn read(path: &Path) -> Result<RunRecord, ReadError> {
    let failed = |error| ReadError::Io { path: path.to_owned(), error };
    let bytes = fs::read(path).map_err(failed)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| ReadError::Malformed { path: path.to_owned(), error })
}
