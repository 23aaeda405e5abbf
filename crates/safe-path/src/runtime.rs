//! A private directory for what has no path on the command line.

use crate::check::name_of;
use crate::owner::is_private;
use crate::{Place, SafePathError, User};
use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, mkdirat, openat, stat};
use rustix::io::Errno;
use std::path::{Path, PathBuf};

/// The directory of this user's for sockets and state: `$XDG_RUNTIME_DIR/memtwin`, else
/// `/run/memtwin` for root, else `memtwin-UID` among the system's temporary files. Made if it is
/// missing; nobody else has access to it.
///
/// Errors: one of that name is somebody else's, or others have access to it.
pub fn runtime_dir() -> Result<PathBuf, SafePathError> {
    let user = User::this().uid();
    let set = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let set = set.filter(|dir| dir.is_absolute() && is_own_dir(dir));
    let run = (user == 0 && is_own_dir(Path::new("/run"))).then(|| PathBuf::from("/run"));
    if let Some(parent) = set.or(run) {
        match private_dir(&parent.join("memtwin")) {
            // A system that is read-only there.
            Err(SafePathError::Io { errno, .. })
                if errno.raw_os_error() == Some(Errno::ROFS.raw_os_error()) => {}
            made => return made,
        }
    }
    private_dir(&std::env::temp_dir().join(format!("memtwin-{user}")))
}

/// A directory to which nobody but this user has access, made if it is missing; its path, links
/// resolved.
///
/// Errors: it is somebody else's, or others have access to it, or it can't be made.
pub fn private_dir(path: &Path) -> Result<PathBuf, SafePathError> {
    let place = Place::find(path)?;
    match mkdirat(&place.dir, &place.name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => check_place(&place),
        Err(errno) => Err(place.failed("make the directory", errno)),
    }
}

/// As [`private_dir`], where nothing may be yet.
///
/// Errors: something is there; or as for [`private_dir`].
pub fn new_private_dir(path: &Path) -> Result<PathBuf, SafePathError> {
    let place = Place::find_name(path)?;
    mkdirat(&place.dir, &place.name, Mode::RWXU)
        .map_err(|errno| place.failed("make the directory", errno))?;
    check_place(&place)
}

/// As [`private_dir`], of one that is there.
///
/// Errors: it is not there, or somebody else's, or others have access to it.
pub fn check_private_dir(path: &Path) -> Result<PathBuf, SafePathError> {
    check_place(&Place::find(path)?)
}

fn check_place(place: &Place) -> Result<PathBuf, SafePathError> {
    match place.kind()? {
        Some(FileType::Directory) | None => {}
        Some(kind) => {
            let (path, expected) = (place.path(), "a directory or nothing");
            return Err(SafePathError::Kind { path, expected, got: name_of(kind) });
        }
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = openat(&place.dir, &place.name, flags, Mode::empty())
        .map_err(|errno| place.failed("open", errno))?;
    let about = fstat(&dir).map_err(|errno| place.failed("look at", errno))?;
    check(place.path(), &about)
}

fn check(path: PathBuf, about: &Stat) -> Result<PathBuf, SafePathError> {
    let owner = User::new(about.st_uid);
    let mode = about.st_mode & 0o777;
    if owner != User::this() {
        return Err(SafePathError::NotOurs { path, owner });
    }
    if mode & 0o077 != 0 {
        return Err(SafePathError::Open { path, mode });
    }
    Ok(path)
}

/// Whether a directory is this user's and nobody else can write to it: root who has kept a user's
/// environment has that user's `XDG_RUNTIME_DIR`.
fn is_own_dir(path: &Path) -> bool {
    stat(path).is_ok_and(|about| User::new(about.st_uid) == User::this() && is_private(&about))
}
