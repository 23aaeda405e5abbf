//! A file that is written whole or not at all: the record, its page.

use memtwin_safe_path::{Place, SafePathError};
use std::fmt;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// As any new file has them; the umask takes its part off.
const MODE: u32 = 0o666;

/// The option that names a file to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveOption {
    /// `--json`: the record.
    Json,
    /// `--report`: the page.
    Report,
    /// `--output` of `memtwin report`: the page of records that are there already.
    Output,
}

impl SaveOption {
    /// What else the option may be given.
    const fn way_out(self) -> &'static str {
        match self {
            Self::Json => "another path, or - for stdout",
            Self::Report | Self::Output => "another path",
        }
    }
}

impl fmt::Display for SaveOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "--json",
            Self::Report => "--report",
            Self::Output => "--output",
        })
    }
}

/// Why a file could not be saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The system refuses.
    #[error("can't write {}: {error}; give {option} {}", path.display(), option.way_out())]
    Io {
        /// The path that was asked for.
        path: PathBuf,
        /// What asked for it.
        option: SaveOption,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// Somebody else may have put there what is there.
    #[error("{0}: {1}")]
    Refused(SaveOption, SafePathError),
}

impl SaveError {
    fn at(path: &Path, option: SaveOption) -> impl Fn(SafePathError) -> Self {
        let wrong = move |error| Self::Io { path: path.to_owned(), option, error };
        move |error| match error.into_errno() {
            Ok(error) => wrong(error),
            Err(SafePathError::Kind { got: "a directory", .. }) => {
                wrong(io::ErrorKind::IsADirectory.into())
            }
            Err(refused) => Self::Refused(option, refused),
        }
    }
}

/// Whether a file could be saved there as things stand: asked before a run that takes long, so that its
/// results are not lost at its end. Leaves nothing behind.
pub fn probe(path: &Path, option: SaveOption) -> Result<(), SaveError> {
    let probed = || {
        let place = Place::find(path)?;
        match place.is_stream()? {
            true => place.open_output(MODE).map(drop),
            false => place.draft(MODE).map(drop),
        }
    };
    probed().map_err(SaveError::at(path, option))
}

/// Saves what `write` writes: `path` holds the whole of it afterwards or, on error, what it held before.
///
/// A device, a pipe or a socket can't be replaced and is written to as it is.
pub fn save(
    path: &Path,
    option: SaveOption,
    write: impl Fn(&mut dyn Write) -> io::Result<()>,
) -> Result<(), SaveError> {
    let failed = SaveError::at(path, option);
    let wrong = |error| SaveError::Io { path: path.to_owned(), option, error };
    let place = Place::find(path).map_err(&failed)?;
    if place.is_stream().map_err(&failed)? {
        return pour(&write, place.open_output(MODE).map_err(&failed)?).map_err(wrong);
    }
    let mut draft = place.draft(MODE).map_err(&failed)?;
    pour(&write, draft.file()).map_err(wrong)?;
    draft.commit().map(drop).map_err(&failed)
}

fn pour(write: impl Fn(&mut dyn Write) -> io::Result<()>, file: impl Write) -> io::Result<()> {
    let mut buffer = BufWriter::new(file);
    write(&mut buffer)?;
    buffer.flush()
}
