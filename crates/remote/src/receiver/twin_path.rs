//! The directory in which a twin and its sidecars lie: openat(2), never through a symbolic link.
//!
//! The directory is opened once; every name in it is looked up from there with O_NOFOLLOW, so
//! nobody who can put links into it, or move it, leads a write elsewhere.

use super::received_image::is_memory;
use crate::RemoteError;
use memtwin_twin::Inode;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// A twin's name in its directory; sidecars have a suffix to it.
#[derive(Debug)]
pub(super) struct TwinPath {
    found: memtwin_safe_path::Place,
    dir: File,
    at: PathBuf,
    name: OsString,
}

impl TwinPath {
    /// The place of `path`. Errors: its directory is not there, or its name is no file's.
    pub(super) fn of(path: &Path) -> Result<Self, RemoteError> {
        let wrong = |what| RemoteError::Path { path: path.to_owned(), what };
        let found = memtwin_safe_path::Place::find_name(path);
        let found = found.map_err(|error| RemoteError::place("open", error))?;
        let dir = found.open_dir().map_err(|error| RemoteError::place("open", error))?;
        let (at, name) = (found.dir_path().to_owned(), found.name().to_owned());
        let this = Self { found, dir, at, name };
        let failed = |errno| RemoteError::Disk { doing: "look at", path: path.to_owned(), errno };
        match this.kind("").map_err(failed)? {
            Some(FileType::Symlink) => {
                return Err(wrong("it is a symbolic link, which is not followed"));
            }
            None | Some(FileType::RegularFile) => {}
            Some(_) => return Err(wrong("it is no regular file")),
        }
        this.found.check_replaceable().map_err(|error| RemoteError::place("look at", error))?;
        Ok(this)
    }

    pub(super) fn path(&self, suffix: &str) -> PathBuf {
        self.at.join(self.named(suffix))
    }

    fn named(&self, suffix: &str) -> OsString {
        let mut name = self.name.clone();
        name.push(OsStr::new(suffix));
        name
    }

    fn failed(
        &self,
        doing: &'static str,
        suffix: &str,
        errno: impl Into<io::Error>,
    ) -> RemoteError {
        RemoteError::Disk { doing, path: self.path(suffix), errno: errno.into() }
    }

    fn kind(&self, suffix: &str) -> io::Result<Option<FileType>> {
        match statat(&self.dir, self.named(suffix), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Which file has the name now.
    pub(super) fn inode(&self, suffix: &str) -> Option<Inode> {
        let file = self.open(suffix).ok()??;
        file.metadata().ok().map(|about| Inode::of(&about))
    }

    /// Opens a regular file, if it is there.
    pub(super) fn open(&self, suffix: &str) -> Result<Option<File>, RemoteError> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match openat(&self.dir, self.named(suffix), flags, Mode::empty()) {
            Ok(file) => {
                let file = File::from(file);
                self.found
                    .beside(suffix)
                    .and_then(|place| place.check_opened(&file))
                    .map_err(|error| RemoteError::place("look at", error))?;
                Ok(Some(file))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.failed("open", suffix, errno)),
        }
    }

    /// Makes a new file, its owner's alone, in place of what has the name.
    pub(super) fn create(&self, suffix: &str) -> Result<File, RemoteError> {
        self.remove(suffix)?;
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&self.dir, self.named(suffix), flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .map_err(|errno| self.failed("create", suffix, errno))
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), RemoteError> {
        renameat(&self.dir, self.named(from), &self.dir, self.named(to))
            .map_err(|errno| self.failed("replace", to, errno))
    }

    pub(super) fn remove(&self, suffix: &str) -> Result<(), RemoteError> {
        match unlinkat(&self.dir, self.named(suffix), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.failed("remove", suffix, errno)),
        }
    }

    /// Names are on the disk.
    pub(super) fn sync(&self) -> Result<(), RemoteError> {
        self.dir.sync_all().map_err(|errno| self.failed("sync the directory of", "", errno))
    }

    /// Errors if so many bytes clearly don't fit. `left` is what may stand in their way.
    pub(super) fn check_room(&self, needed: u64, left: &str) -> Result<(), RemoteError> {
        let about = rustix::fs::fstatvfs(&self.dir)
            .map_err(|errno| self.failed("look at the file system of", "", errno))?;
        // A file system without a size says 0 of 0.
        let free = if about.f_blocks > 0 {
            about.f_bfree.saturating_mul(about.f_frsize)
        } else if !is_memory(&self.dir) {
            return Ok(());
        } else {
            let memory = rustix::system::sysinfo();
            (memory.freeram as u64).saturating_mul(u64::from(memory.mem_unit))
        };
        if free < needed { Err(self.no_room(needed, free, left)) } else { Ok(()) }
    }

    /// The twin does not fit.
    pub(super) fn no_room(&self, needed: u64, free: u64, left: &str) -> RemoteError {
        let left = self.inode(left).map(|_| self.path(left));
        RemoteError::NoRoom { path: self.path(""), needed, free, left }
    }
}
