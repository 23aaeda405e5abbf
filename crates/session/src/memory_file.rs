//! The file behind the guest's window, `/dev/shm/aeshmem` in the seed: the guest's side of a
//! replication, for others to look at while it runs and after.

use memtwin_safe_path::{Draft, Place, SafePathError};
use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How often its place is tried for: each time but the last, another has come and gone meanwhile.
const TRIES: u32 = 100;

/// Where the seed has it.
pub const DEFAULT_MEMORY_FILE: &str = "/dev/shm/aeshmem";

/// A file of the window's size, locked. Removed again when dropped, unless it was to be kept.
#[derive(Debug)]
pub struct MemoryFile {
    place: Place,
    file: File,
    keep: bool,
}

/// Why it can't be obtained.
#[derive(Debug, thiserror::Error)]
pub enum MemoryFileError {
    /// Something that is no regular file stands there.
    #[error("{}: is {what}, expected a regular file or nothing; give --memory another path", path.display())]
    NotAFile {
        /// Where.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Another local user may have put there what is there.
    #[error("--memory: {0}")]
    Refused(SafePathError),
    /// Another instance has it.
    #[error("{}: in use by another memtwin; wait for it, or give --memory another path", path.display())]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// There is no room for it.
    #[error("{}: no room for {bytes} bytes ({errno}); give --memory a path with room, or a smaller --size", path.display())]
    NoRoom {
        /// Where.
        path: PathBuf,
        /// How many bytes were to fit.
        bytes: u64,
        /// What the system said.
        errno: io::Error,
    },
    /// It can't be made.
    #[error("{}: {errno}; give --memory a path that can be written", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        errno: io::Error,
    },
}

impl MemoryFileError {
    fn io(path: &Path, errno: io::Error) -> Self {
        Self::Io { path: path.to_owned(), errno }
    }

    fn of(path: &Path, error: SafePathError) -> Self {
        match error {
            SafePathError::Kind { got, .. } => Self::NotAFile { path: path.to_owned(), what: got },
            SafePathError::Io { errno, .. } => Self::io(path, errno),
            refused => Self::Refused(refused),
        }
    }
}

impl MemoryFile {
    /// Makes the file, with room for `bytes` bytes, and locks it.
    ///
    /// A file that stands there is replaced and not written to: another guest may have it mapped.
    pub fn create(path: &Path, bytes: u64) -> Result<Self, MemoryFileError> {
        let refused = |error: SafePathError| MemoryFileError::of(path, error);
        let place = Place::find_name(path).map_err(refused)?;
        // Made under a name of its own and moved into place, so that nobody ever sees a half.
        // Before any of it is taken.
        if memtwin_room::tmpfs_limit(path).is_some_and(|limit| bytes > limit.available) {
            let errno = rustix::io::Errno::NOSPC.into();
            return Err(MemoryFileError::NoRoom { path: path.to_owned(), bytes, errno });
        }
        let mut draft = place.draft(0o600).map_err(refused)?;
        // What has its own lock, nobody else who may not open it can lock.
        flock(draft.file(), FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| MemoryFileError::io(path, errno.into()))?;
        // Room for every page now: a store into a page that tmpfs has no room for is SIGBUS.
        fallocate(draft.file(), FallocateFlags::empty(), 0, bytes).map_err(|errno| {
            MemoryFileError::NoRoom { path: path.to_owned(), bytes, errno: errno.into() }
        })?;
        let file = take_place(&place, draft, path)?;
        Ok(Self { place, file, keep: false })
    }

    /// Another handle of it, to be mapped.
    ///
    /// Errors: the process may open no more files.
    pub fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Leaves it there for good.
    pub fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        // Only if it is still ours: someone may have put another file there.
        if !self.keep && is_at(&self.file, &self.place.path()) {
            // Nobody is left to hear that it can't be removed.
            let _ = self.place.remove();
        }
    }
}

/// Gives a draft its place, that of a file that nobody has locked too. Of two that start at once, one
/// finds the other's lock.
fn take_place(place: &Place, mut draft: Draft<'_>, path: &Path) -> Result<File, MemoryFileError> {
    let refused = |error: SafePathError| MemoryFileError::of(path, error);
    for _ in 0..TRIES {
        draft = match draft.commit_new().map_err(refused)? {
            Ok(file) => return Ok(file),
            Err(draft) => draft,
        };
        // Opened only to see whether someone holds its lock, who must be ours or root.
        let Some(there) = place.read_ours().map_err(refused)? else { continue };
        flock(&there, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_held| MemoryFileError::InUse { path: path.to_owned() })?;
        // Whoever has the lock of the file that is there may replace it, and nobody else.
        if is_at(&there, &place.path()) {
            return draft.commit().map_err(refused);
        }
    }
    Err(MemoryFileError::InUse { path: path.to_owned() })
}

/// Whether a name is that of an open file.
fn is_at(file: &File, path: &Path) -> bool {
    let inode = |about: &fs::Metadata| (about.dev(), about.ino());
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(mine), Ok(found)) => inode(&mine) == inode(&found),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_there_while_it_is_held_and_gone_after() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory");
        let held = MemoryFile::create(&path, 8192).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 8192);
        let second = MemoryFile::create(&path, 8192).unwrap_err();
        assert!(matches!(second, MemoryFileError::InUse { .. }), "{second}");
        drop(held);
        assert!(!path.exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "something was left behind");
    }

    #[test]
    fn what_stands_there_is_replaced_and_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory");
        fs::write(&path, b"another guest's").unwrap();
        let old = File::open(&path).unwrap();
        MemoryFile::create(&path, 4096).unwrap().keep();
        assert_eq!(fs::metadata(&path).unwrap().len(), 4096);
        assert_eq!(io::read_to_string(&old).unwrap(), "another guest's");
    }

    #[test]
    fn a_directory_and_a_fifo_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = MemoryFile::create(dir.path(), 4096).unwrap_err().to_string();
        assert!(error.contains("is a directory, expected a regular file"), "{error}");
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .unwrap();
        let error = MemoryFile::create(&fifo, 4096).unwrap_err().to_string();
        assert!(error.contains("is a pipe"), "{error}");
        assert!(MemoryFile::create(&dir.path().join("no/such"), 4096).is_err());
    }

    #[test]
    fn too_much_is_refused_and_leaves_nothing() {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let error = MemoryFile::create(&dir.path().join("memory"), 1 << 50).unwrap_err();
        assert!(matches!(error, MemoryFileError::NoRoom { .. }), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
