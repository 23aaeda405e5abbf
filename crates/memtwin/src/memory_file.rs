//! The file behind the guest's window, `/dev/shm/aeshmem` in the seed: the guest's side of a
//! replication, for others to look at while it runs and after.

use rustix::fs::{FallocateFlags, FlockOperation, OFlags};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the seed has it.
pub(crate) const DEFAULT: &str = "/dev/shm/aeshmem";

/// A file of the window's size, locked. Removed again when dropped, unless it was to be kept.
#[derive(Debug)]
pub(crate) struct MemoryFile {
    path: PathBuf,
    file: File,
    keep: bool,
}

/// Why it can't be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MemoryFileError {
    /// Something that is no regular file stands there.
    #[error("{}: is {what}, expected a regular file or nothing; give --memory another path", path.display())]
    NotAFile {
        /// Where.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
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

impl MemoryFile {
    /// Makes the file, with room for `bytes` bytes, and locks it.
    ///
    /// A file that stands there is replaced and not written to: another guest may have it mapped.
    pub(crate) fn create(path: &Path, bytes: u64) -> Result<Self, MemoryFileError> {
        let io = |errno: io::Error| MemoryFileError::Io { path: path.to_owned(), errno };
        // Held until the file is in place: of two that start at once, one finds the other's lock.
        let _turn = take_turn(path).map_err(io)?;
        refuse_what_is_in_use(path)?;
        // Made under a name of its own and moved into place, so that nobody ever sees a half.
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}", std::process::id()));
        let draft = PathBuf::from(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)
            .map_err(io)?;
        let this = |path: &Path| Self { path: path.to_owned(), file, keep: false };
        let mut this = this(&draft);
        rustix::fs::flock(&this.file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| io(errno.into()))?;
        // Before any of it is taken.
        if memtwin_room::tmpfs_limit(path).is_some_and(|limit| bytes > limit.available) {
            let errno = rustix::io::Errno::NOSPC.into();
            return Err(MemoryFileError::NoRoom { path: path.to_owned(), bytes, errno });
        }
        // Room for every page now: a store into a page that tmpfs has no room for is SIGBUS.
        rustix::fs::fallocate(&this.file, FallocateFlags::empty(), 0, bytes).map_err(|errno| {
            MemoryFileError::NoRoom { path: path.to_owned(), bytes, errno: errno.into() }
        })?;
        fs::rename(&draft, path).map_err(io)?;
        this.path = path.to_owned();
        Ok(this)
    }

    /// Another handle of it, to be mapped.
    pub(crate) fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Leaves it there for good.
    pub(crate) fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        let ours = |found: &fs::Metadata| {
            self.file
                .metadata()
                .is_ok_and(|mine| (mine.dev(), mine.ino()) == (found.dev(), found.ino()))
        };
        // Only if it is still ours: someone may have put another file there.
        if !self.keep && fs::symlink_metadata(&self.path).is_ok_and(|found| ours(&found)) {
            // Nobody is left to hear that it can't be removed.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Locks the directory of a path.
fn take_turn(path: &Path) -> io::Result<File> {
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let dir = File::open(parent)?;
    for _ in 0..200 {
        match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(dir),
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(10)),
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, "its directory is locked by another process"))
}

/// Errors if something stands there that may not be replaced.
fn refuse_what_is_in_use(path: &Path) -> Result<(), MemoryFileError> {
    let io = |errno: io::Error| MemoryFileError::Io { path: path.to_owned(), errno };
    let kind = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
        Ok(found) => found.file_type(),
    };
    let what = if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a fifo"
    } else if kind.is_symlink() {
        "a symbolic link"
    } else if !kind.is_file() {
        "a device or a socket"
    } else {
        // Opened only to see whether someone holds its lock.
        let flags = (OFlags::NOFOLLOW | OFlags::CLOEXEC).bits() as i32;
        let there = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(io)?;
        return rustix::fs::flock(&there, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_held| MemoryFileError::InUse { path: path.to_owned() });
    };
    Err(MemoryFileError::NotAFile { path: path.to_owned(), what })
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
        assert!(error.contains("is a fifo"), "{error}");
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
