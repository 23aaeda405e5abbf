//! The directory in which a twin's file and its sidecars lie: openat(2), never through a symbolic link.
//!
//! The directory is opened once; every name in it is looked up from there with O_NOFOLLOW, so
//! nobody who can put links into it, or move it, leads a write elsewhere. Sidecars have the twin's name
//! with a suffix: `.partial`, `.first`, `.replicating`, `.journal`.

use crate::{Inode, TwinError};
use memtwin_safe_path::Place;
use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, access, openat, renameat};
use rustix::fs::{StatVfs, fstatvfs, statat, unlinkat};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// A twin's name in its directory, which is held open.
#[derive(Debug)]
pub struct TwinPath {
    found: Place,
    dir: File,
    at: PathBuf,
    name: OsString,
}

impl TwinPath {
    /// Follows symbolic links to the file that `path` means, which need not exist yet.
    ///
    /// Errors unless that is a regular file that we may write, or a free name in a directory; or where
    /// another user can have put there a link or the file.
    pub fn resolve(path: &Path) -> Result<Self, TwinError> {
        let found = Place::find(path)?;
        found.check_replaceable()?;
        if found.kind()?.is_some() {
            access(found.path(), Access::WRITE_OK)
                .map_err(|errno| TwinError::io("open", path, errno))?;
        }
        Self::of(found)
    }

    /// The name itself, which is not a symbolic link's.
    ///
    /// Errors: its directory is not there, or its name is no file's; or another user can have put
    /// there what is there.
    pub fn exact(path: &Path) -> Result<Self, TwinError> {
        let found = Place::find_name(path)?;
        let wrong = |got| TwinError::NotAFile { path: path.to_owned(), got };
        match found.kind()? {
            Some(FileType::Symlink) => return Err(wrong("a symbolic link")),
            None | Some(FileType::RegularFile) => {}
            Some(_) => return Err(wrong("no regular file")),
        }
        found.check_replaceable()?;
        Self::of(found)
    }

    fn of(found: Place) -> Result<Self, TwinError> {
        let dir = found.open_dir()?;
        let (at, name) = (found.dir_path().to_owned(), found.name().to_owned());
        Ok(Self { found, dir, at, name })
    }

    /// Where the sidecar of this suffix lies; with an empty one, the twin.
    pub fn path(&self, suffix: &str) -> PathBuf {
        self.at.join(self.named(suffix))
    }

    pub(crate) fn directory(&self) -> &File {
        &self.dir
    }

    fn named(&self, suffix: &str) -> OsString {
        let mut name = self.name.clone();
        name.push(suffix);
        name
    }

    fn failed(&self, doing: &'static str, suffix: &str, errno: impl Into<io::Error>) -> TwinError {
        TwinError::io(doing, &self.path(suffix), errno)
    }

    /// Whether anything has the name, a link too.
    pub fn is_there(&self, suffix: &str) -> bool {
        statat(&self.dir, self.named(suffix), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Which file has the name now.
    pub fn inode(&self, suffix: &str) -> Option<Inode> {
        let about = statat(&self.dir, self.named(suffix), AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let is_file = FileType::from_raw_mode(about.st_mode) == FileType::RegularFile;
        is_file.then(|| Inode::new(about.st_dev, about.st_ino))
    }

    /// Opens for reading whatever has the name, whosever it is.
    pub(crate) fn look(&self, suffix: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(openat(&self.dir, self.named(suffix), flags, Mode::empty()).map(File::from)?)
    }

    /// Opens a regular file for reading and writing, if it is there. Errors: it may be another user's.
    pub fn open(&self, suffix: &str) -> Result<Option<File>, TwinError> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match openat(&self.dir, self.named(suffix), flags, Mode::empty()) {
            Ok(file) => {
                let file = File::from(file);
                self.found.beside(suffix)?.check_opened(&file)?;
                Ok(Some(file))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.failed("open", suffix, errno)),
        }
    }

    /// Makes a new file, its owner's alone, in place of what has the name.
    pub fn create(&self, suffix: &str) -> Result<File, TwinError> {
        self.remove(suffix)?;
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&self.dir, self.named(suffix), flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .map_err(|errno| self.failed("create", suffix, errno))
    }

    /// Gives what has one name another, and with it the place of what is there.
    pub fn rename(&self, doing: &'static str, from: &str, to: &str) -> Result<(), TwinError> {
        renameat(&self.dir, self.named(from), &self.dir, self.named(to))
            .map_err(|errno| self.failed(doing, to, errno))
    }

    /// Removes a name, if it is there.
    pub fn remove(&self, suffix: &str) -> Result<(), TwinError> {
        match unlinkat(&self.dir, self.named(suffix), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.failed("remove", suffix, errno)),
        }
    }

    /// What was done to the names in the directory is on the disk.
    pub fn sync(&self) -> Result<(), TwinError> {
        self.dir.sync_all().map_err(|errno| self.failed("sync the directory of", "", errno))
    }

    pub(crate) fn file_system(&self) -> Result<StatVfs, TwinError> {
        fstatvfs(&self.dir).map_err(|errno| self.failed("look at the file system of", "", errno))
    }
}

/// The sidecar of a resolved path: its name with something appended.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    fn resolved(path: &Path) -> Result<PathBuf, TwinError> {
        TwinPath::resolve(path).map(|path| path.path(""))
    }

    fn refused(path: &Path) -> String {
        TwinPath::resolve(path).unwrap_err().to_string()
    }

    #[test]
    fn links_lead_to_the_file_that_is_meant() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let (file, free) = (dir.join("file"), dir.join("free"));
        fs::write(&file, "").unwrap();
        symlink("file", dir.join("to-file")).unwrap();
        symlink("free", dir.join("to-free")).unwrap();
        symlink(dir.join("to-free"), dir.join("to-to-free")).unwrap();
        assert_eq!(resolved(&dir.join("to-file")).unwrap(), file);
        assert_eq!(resolved(&dir.join("to-to-free")).unwrap(), free);
        assert_eq!(resolved(&dir.join("free")).unwrap(), free);
        symlink("circle", dir.join("circle")).unwrap();
        assert!(refused(&dir.join("circle")).contains("symbolic links"));
    }

    #[test]
    fn what_is_no_file_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let fifo = dir.join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        let _listener = UnixListener::bind(dir.join("socket")).unwrap();
        for (path, got) in [
            (dir, "a directory"),
            (&fifo, "a pipe"),
            (Path::new("/dev/null"), "a device"),
            (&dir.join("socket"), "a socket"),
            (&dir.join("free/"), "a directory's name"),
            (Path::new(""), "no name"),
        ] {
            let said = refused(path);
            assert!(said.contains(&format!("got {got};")), "{}: {said}", path.display());
        }
        let said = refused(&dir.join("missing/twin"));
        assert!(said.contains("missing: ") && said.contains("make the directory"), "{said}");
        assert!(!said.contains('\n'));
    }
}
