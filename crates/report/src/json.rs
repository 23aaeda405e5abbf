//! Where the JSON record goes.

use crate::record::RunRecord;
use memtwin_safe_path::{Place, SafePathError};
use std::ffi::OsStr;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// As any new file has them; the umask takes its part off.
const MODE: u32 = 0o666;

/// A file, or standard output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonTarget {
    /// `-`: standard output, where the record takes the table's place.
    Stdout,
    /// A file.
    File(PathBuf),
}

/// Why the record could not be saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The system refuses.
    #[error("can't write {}: {error}; give --json another path, or - for stdout", path.display())]
    Io {
        /// The path that was asked for.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// Somebody else may have put there what is there.
    #[error("--json: {0}")]
    Refused(SafePathError),
}

impl SaveError {
    fn at(path: &Path) -> impl Fn(SafePathError) -> Self {
        let wrong = |error| Self::Io { path: path.to_owned(), error };
        move |error| match error.into_errno() {
            Ok(error) => wrong(error),
            Err(SafePathError::Kind { got: "a directory", .. }) => {
                wrong(io::ErrorKind::IsADirectory.into())
            }
            Err(refused) => Self::Refused(refused),
        }
    }
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
            Self::File(path) => probe(path).map_err(SaveError::at(path)),
        }
    }
}

fn probe(path: &Path) -> Result<(), SafePathError> {
    let place = Place::find(path)?;
    match place.is_stream()? {
        true => place.open_output(MODE).map(drop),
        false => place.draft(MODE).map(drop),
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
    let failed = SaveError::at(path);
    let wrong = |error| SaveError::Io { path: path.to_owned(), error };
    let place = Place::find(path).map_err(&failed)?;
    if place.is_stream().map_err(&failed)? {
        return pour(record, place.open_output(MODE).map_err(&failed)?).map_err(wrong);
    }
    let mut draft = place.draft(MODE).map_err(&failed)?;
    pour(record, draft.file()).map_err(wrong)?;
    draft.commit().map(drop).map_err(&failed)
}

fn pour(record: &RunRecord, file: impl Write) -> io::Result<()> {
    let mut buffer = BufWriter::new(file);
    write(record, &mut buffer)?;
    buffer.flush()
}
