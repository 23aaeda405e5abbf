//! What a file is, and whose.

use crate::{SafePathError, User};
use rustix::fs::{FileType, Stat};
use std::path::Path;

/// Errors unless it is a regular file of ours or root's without further names.
pub(crate) fn check_stat(there: &Stat, path: &Path) -> Result<(), SafePathError> {
    regular(there, path)?;
    let (path, owner) = (path.to_owned(), User::new(there.st_uid));
    if !owner.is_ours() {
        return Err(SafePathError::NotOurs { path, owner });
    }
    // Zero: removed since, which nobody can hold against us.
    if there.st_nlink > 1 {
        #[allow(clippy::useless_conversion, reason = "it has 32 bits on aarch64")]
        let links = u64::from(there.st_nlink);
        return Err(SafePathError::ManyNames { path, links });
    }
    Ok(())
}

/// Errors unless it is a regular file.
pub(crate) fn regular(there: &Stat, path: &Path) -> Result<(), SafePathError> {
    match FileType::from_raw_mode(there.st_mode) {
        FileType::RegularFile => Ok(()),
        kind => {
            let (path, expected) = (path.to_owned(), "a regular file or nothing");
            Err(SafePathError::Kind { path, expected, got: name_of(kind) })
        }
    }
}

/// What is there, for people.
pub(crate) fn name_of(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a regular file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "something else",
    }
}
