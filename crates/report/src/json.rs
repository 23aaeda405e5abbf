//! Where the JSON record goes.

use crate::record::RunRecord;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

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
#[error("can't write {}: {error}; give --json another path, or - for stdout", path.display())]
pub struct SaveError {
    /// The path that was asked for.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub error: io::Error,
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
            Self::File(path) => Place::of(path)
                .and_then(|place| match place {
                    Place::Whole(path) => beside(&path).map(drop),
                    Place::Stream => fs::OpenOptions::new().write(true).open(path).map(drop),
                })
                .map_err(|error| SaveError { path: path.clone(), error }),
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
    let saved = Place::of(path).and_then(|place| match place {
        Place::Whole(path) => save_whole(record, &path),
        Place::Stream => pour(record, fs::OpenOptions::new().write(true).open(path)?),
    });
    saved.map_err(|error| SaveError { path: path.to_owned(), error })
}

/// How a path can be written to.
enum Place {
    /// A file at this path, links followed, is replaced as a whole or made.
    Whole(PathBuf),
    /// There is something else, to which bytes can only be poured.
    Stream,
}

impl Place {
    fn of(path: &Path) -> io::Result<Self> {
        match fs::metadata(path) {
            Ok(there) if there.is_file() => Ok(Self::Whole(fs::canonicalize(path)?)),
            Ok(there) if there.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            Ok(_) => Ok(Self::Stream),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Self::Whole(path.to_owned()))
            }
            Err(error) => Err(error),
        }
    }
}

fn save_whole(record: &RunRecord, path: &Path) -> io::Result<()> {
    let mut file = beside(path)?;
    pour(record, file.as_file_mut())?;
    file.persist(path)?;
    Ok(())
}

fn pour(record: &RunRecord, file: impl Write) -> io::Result<()> {
    let mut buffer = BufWriter::new(file);
    write(record, &mut buffer)?;
    buffer.flush()
}

/// A temporary file next to `path`, on the same file system, so that it can take its place.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    tempfile::Builder::new()
        .prefix(".memtwin-")
        .suffix(".json")
        // As any new file has them; the umask takes its part off.
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(directory)
}
