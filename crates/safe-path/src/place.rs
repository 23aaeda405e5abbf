//! A name in a directory that is held open, and what is done to it.

use crate::check::{check_stat, name_of, regular};
use crate::owner::{is_its_owners, is_private};
use crate::walk::walk;
use crate::{Draft, SafePathError, User};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::fs::{fstat, ftruncate, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// A name in a directory that is held open.
#[derive(Debug)]
pub struct Place {
    pub(crate) dir: OwnedFd,
    /// The directory.
    pub(crate) about: Stat,
    /// Where the directory is, links resolved.
    pub(crate) at: PathBuf,
    pub(crate) name: OsString,
    /// It is a link of procfs, `/proc/self/fd/1`: only the kernel can follow it.
    pub(crate) kernels_link: bool,
}

impl Place {
    /// The place that `path` means, which need not hold anything yet. Links are followed, the last
    /// component's too.
    ///
    /// Errors: a directory on the way is missing, or a link is one that others can have planted.
    pub fn find(path: impl AsRef<Path>) -> Result<Self, SafePathError> {
        walk(path.as_ref(), true)
    }

    /// As [`Place::find`]; if the last component is a link, it is the link's own place.
    pub fn find_name(path: impl AsRef<Path>) -> Result<Self, SafePathError> {
        walk(path.as_ref(), false)
    }

    /// The place of another name in the same directory: this one with something appended.
    ///
    /// Errors: the directory can't be opened again.
    pub fn beside(&self, suffix: &str) -> Result<Self, SafePathError> {
        let mut name = self.name.clone();
        name.push(suffix);
        let dir =
            self.dir.try_clone().map_err(|errno| self.failed("open the directory of", errno))?;
        Ok(Self { dir, about: self.about, at: self.at.clone(), name, kernels_link: false })
    }

    /// Where it is, links resolved; for messages, and for what only reads.
    pub fn path(&self) -> PathBuf {
        self.at.join(&self.name)
    }

    /// Its directory, links resolved.
    pub fn dir_path(&self) -> &Path {
        &self.at
    }

    /// The last component.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// Whether only we and root can have put there what is there.
    pub fn is_private(&self) -> bool {
        is_private(&self.about)
    }

    /// What is there, a link not followed; `None` if nothing is.
    pub fn kind(&self) -> Result<Option<FileType>, SafePathError> {
        Ok(self.stat()?.map(|there| FileType::from_raw_mode(there.st_mode)))
    }

    /// Whether there is something to which bytes can only be poured: a device, a pipe, a terminal.
    pub fn is_stream(&self) -> Result<bool, SafePathError> {
        let kind = self.kind()?;
        let whole = matches!(kind, None | Some(FileType::RegularFile | FileType::Directory));
        Ok(self.kernels_link || !whole)
    }

    /// Makes a new regular file, open for reading and writing; `mode` as for open(2).
    ///
    /// Errors: something is there.
    pub fn create_new(&self, mode: u32) -> Result<File, SafePathError> {
        let how = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        self.open(how, mode).map_err(|errno| self.failed("create", errno))
    }

    /// Opens what must be ours, for reading and writing; `None` if nothing is there.
    ///
    /// Errors: it is no regular file, or somebody else's, or has further names.
    pub fn open_ours(&self) -> Result<Option<File>, SafePathError> {
        self.open_checked(OFlags::RDWR, |there| self.ours(there))
    }

    /// As [`Place::open_ours`], for reading alone.
    pub fn read_ours(&self) -> Result<Option<File>, SafePathError> {
        self.open_checked(OFlags::RDONLY, |there| self.ours(there))
    }

    /// Opens what must be ours, for reading and writing, and makes it if nothing is there.
    ///
    /// Errors: it is no regular file, or somebody else's, or has further names.
    pub fn open_or_create_ours(&self, mode: u32) -> Result<File, SafePathError> {
        // Each turn that finds neither a file nor a free name is another process's doing.
        for _ in 0..100 {
            if let Some(file) = self.open_ours()? {
                return Ok(file);
            }
            match self.open(OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, mode) {
                Err(Errno::EXIST) => {}
                made => return made.map_err(|errno| self.failed("create", errno)),
            }
        }
        Err(self.failed("create", Errno::AGAIN))
    }

    /// Errors if something is there that is not ours, as [`Place::open_ours`].
    pub fn check_ours(&self) -> Result<(), SafePathError> {
        self.stat()?.map_or(Ok(()), |there| self.ours(&there))
    }

    /// Errors if a file that was opened here is not ours, as [`Place::open_ours`].
    pub fn check_opened(&self, file: &File) -> Result<(), SafePathError> {
        self.ours(&fstat(file).map_err(|errno| self.failed("look at", errno))?)
    }

    /// Opens a file for output from its beginning: made if nothing is there, else emptied. A device, a
    /// pipe or a terminal is opened as it is.
    ///
    /// Errors: what is there is not ours, where others can have put it.
    pub fn open_output(&self, mode: u32) -> Result<File, SafePathError> {
        for _ in 0..100 {
            if let Some(file) =
                self.open_checked(OFlags::WRONLY, |there| self.check_output(there))?
            {
                let about = fstat(&file).map_err(|errno| self.failed("look at", errno))?;
                if FileType::from_raw_mode(about.st_mode) == FileType::RegularFile {
                    ftruncate(&file, 0).map_err(|errno| self.failed("empty", errno))?;
                }
                return Ok(file);
            }
            match self.open(OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, mode) {
                Err(Errno::EXIST) => {}
                made => return made.map_err(|errno| self.failed("create", errno)),
            }
        }
        Err(self.failed("create", Errno::AGAIN))
    }

    /// A new file beside it under a name of its own, which takes its place when it is complete.
    ///
    /// Errors: what is there is not ours, where others can have put it; or is no regular file.
    pub fn draft(&self, mode: u32) -> Result<Draft<'_>, SafePathError> {
        self.check_replaceable()?;
        Draft::new(self, mode)
    }

    /// Errors if what is there may not be replaced by a file of ours.
    pub fn check_replaceable(&self) -> Result<(), SafePathError> {
        match self.stat()? {
            Some(mut there) => {
                regular(&there, &self.path())?;
                // It is not written to: other names of it are no danger.
                there.st_nlink = 1;
                self.check_output(&there)
            }
            None => Ok(()),
        }
    }

    /// Gives what is here the name `to`, and with it the place of what is there.
    pub fn rename(&self, to: &Self) -> Result<(), SafePathError> {
        renameat(&self.dir, &self.name, &to.dir, &to.name)
            .map_err(|errno| to.failed("replace", errno))
    }

    /// Removes what is there, if anything is; a directory is not removed.
    pub fn remove(&self) -> Result<(), SafePathError> {
        match unlinkat(&self.dir, &self.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.failed("remove", errno)),
        }
    }

    /// Names in its directory are on the disk.
    pub fn sync_dir(&self) -> Result<(), SafePathError> {
        self.open_dir()?.sync_all().map_err(|errno| self.failed("sync the directory of", errno))
    }

    /// Its directory, open for reading.
    pub fn open_dir(&self) -> Result<File, SafePathError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(&self.dir, ".", flags, Mode::empty())
            .map(File::from)
            .map_err(|errno| self.failed("open the directory of", errno))
    }

    pub(crate) fn stat(&self) -> Result<Option<Stat>, SafePathError> {
        let flags = match self.kernels_link {
            true => AtFlags::empty(),
            false => AtFlags::SYMLINK_NOFOLLOW,
        };
        match statat(&self.dir, &self.name, flags) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.failed("look at", errno)),
        }
    }

    pub(crate) fn failed(
        &self,
        doing: &'static str,
        errno: impl Into<std::io::Error>,
    ) -> SafePathError {
        SafePathError::io(doing, self.path(), errno)
    }

    fn open(&self, how: OFlags, mode: u32) -> Result<File, Errno> {
        let link = if self.kernels_link { OFlags::empty() } else { OFlags::NOFOLLOW };
        let flags = how | link | OFlags::CLOEXEC | OFlags::NOCTTY;
        openat(&self.dir, &self.name, flags, Mode::from_raw_mode(mode)).map(File::from)
    }

    /// Opens what is there, and only then looks at it: the one that was looked at is the one opened.
    fn open_checked(
        &self,
        how: OFlags,
        check: impl Fn(&Stat) -> Result<(), SafePathError>,
    ) -> Result<Option<File>, SafePathError> {
        // What is refused is not opened at all if it can be helped: a pipe would wait, a tape rewind.
        match self.stat()? {
            Some(there) => check(&there)?,
            None => return Ok(None),
        }
        let file = match self.open(how, 0) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.failed("open", errno)),
        };
        check(&fstat(&file).map_err(|errno| self.failed("look at", errno))?)?;
        Ok(Some(file))
    }

    fn ours(&self, there: &Stat) -> Result<(), SafePathError> {
        match self.is_private() {
            true => regular(there, &self.path()),
            false => check_stat(there, &self.path()),
        }
    }

    fn check_output(&self, there: &Stat) -> Result<(), SafePathError> {
        let kind = FileType::from_raw_mode(there.st_mode);
        match kind {
            FileType::Directory | FileType::Symlink | FileType::Socket => {
                let (path, expected) = (self.path(), "a file to write to");
                return Err(SafePathError::Kind { path, expected, got: name_of(kind) });
            }
            _ if self.kernels_link || self.is_private() => return Ok(()),
            _ => {}
        }
        let owner = User::new(there.st_uid);
        match kind {
            // Its owner can do with it whatever we could, and nobody else has a hand in it.
            FileType::RegularFile if is_its_owners(&self.about, there) && there.st_nlink == 1 => {
                Ok(())
            }
            FileType::RegularFile => check_stat(there, &self.path()),
            _ if owner.is_ours() => Ok(()),
            _ => Err(SafePathError::NotOurs { path: self.path(), owner }),
        }
    }
}
