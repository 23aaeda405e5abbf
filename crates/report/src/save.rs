//! A file that is written whole or not at all: the record, its page.

use crate::text::shown;
use memtwin_safe_path::{Place, SafePathError};
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
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
    #[error("can't write {}: {error}; give {option} {}", shown(path), option.way_out())]
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

/// What a path names: two paths that name the same file have the same.
#[derive(PartialEq, Eq)]
enum FileName {
    /// A file that is there: its device and its number there.
    Inode(u64, u64),
    /// One that is still to be made: its directory, and its name there.
    New(PathBuf, OsString),
}

impl FileName {
    /// Nothing of a device, a pipe or a socket, which takes what several write, nor where no file can be made.
    fn of(path: &Path) -> Option<Self> {
        match fs::metadata(path) {
            Ok(found) => found.is_file().then(|| Self::Inode(found.dev(), found.ino())),
            Err(_) => {
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let directory = parent.unwrap_or(Path::new(".")).canonicalize().ok()?;
                Some(Self::New(directory, path.file_name()?.to_owned()))
            }
        }
    }
}

/// Whether writing to one path would overwrite what is, or will be, at the other.
pub fn same_file(one: &Path, other: &Path) -> bool {
    FileName::of(one).is_some_and(|name| FileName::of(other) == Some(name))
}

fn pour(write: impl Fn(&mut dyn Write) -> io::Result<()>, file: impl Write) -> io::Result<()> {
    let mut buffer = BufWriter::new(file);
    write(&mut buffer)?;
    buffer.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_the_same_by_each_of_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("sub")).unwrap();
        assert!(same_file(&at("new"), &at("sub/../new")));
        assert!(!same_file(&at("new"), &at("other")));
        fs::write(at("old"), "").unwrap();
        fs::hard_link(at("old"), at("second")).unwrap();
        std::os::unix::fs::symlink("old", at("link")).unwrap();
        assert!(same_file(&at("old"), &at("second")) && same_file(&at("link"), &at("second")));
        assert!(!same_file(&at("old"), &at("new")));
        // What several write to one after the other is no file to be replaced.
        assert!(!same_file(Path::new("/dev/null"), Path::new("/dev/null")));
    }
}
