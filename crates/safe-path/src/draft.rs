//! A file that takes a place when it is complete.

use crate::{Place, SafePathError};
use rustix::fs::{AtFlags, RenameFlags, linkat, renameat_with};
use rustix::io::Errno;
use std::fs::File;
use std::iter;

/// As many names are tried; each is one of 36^12.
const TRIES: u32 = 16;

/// A new file beside a place, under a name that nobody can predict. Removed when dropped.
#[derive(Debug)]
pub struct Draft<'a> {
    to: &'a Place,
    at: Option<Place>,
    file: File,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(to: &'a Place, mode: u32) -> Result<Self, SafePathError> {
        let mut last = None;
        for _ in 0..TRIES {
            let random: String = iter::repeat_with(fastrand::alphanumeric).take(12).collect();
            let mut at = to.beside("")?;
            at.name = format!(".memtwin-{random}").into();
            match at.create_new(mode) {
                Ok(file) => return Ok(Self { to, at: Some(at), file }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    last = Some(error)
                }
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| to.failed("create", Errno::EXIST)))
    }

    /// The file, open for reading and writing.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Takes the place, of what is there too.
    ///
    /// Errors: it can't; nothing is left.
    pub fn commit(mut self) -> Result<File, SafePathError> {
        self.to.check_replaceable()?;
        if let Some(at) = &self.at {
            at.rename(self.to)?;
        }
        self.finished()
    }

    /// Takes the place if nothing is there; `None`, and the draft, if something is.
    ///
    /// Errors: it can't, for another reason.
    pub fn commit_new(mut self) -> Result<Result<File, Self>, SafePathError> {
        let Some(at) = &self.at else { return self.finished().map(Ok) };
        let to = self.to;
        match renameat_with(&at.dir, &at.name, &to.dir, &to.name, RenameFlags::NOREPLACE) {
            Ok(()) => self.finished().map(Ok),
            Err(Errno::EXIST) => Ok(Err(self)),
            // A file system that does not have this (rename(2)): a second name, and the first goes.
            Err(Errno::INVAL) => {
                match linkat(&at.dir, &at.name, &to.dir, &to.name, AtFlags::empty()) {
                    Ok(()) => at.remove().and_then(|()| self.finished()).map(Ok),
                    Err(Errno::EXIST) => Ok(Err(self)),
                    Err(errno) => Err(to.failed("create", errno)),
                }
            }
            Err(errno) => Err(to.failed("create", errno)),
        }
    }

    fn finished(&mut self) -> Result<File, SafePathError> {
        self.at = None;
        self.file.try_clone().map_err(|errno| self.to.failed("open", errno))
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if let Some(at) = &self.at {
            // Nobody is left to hear that it can't be removed.
            let _ = at.remove();
        }
    }
}
