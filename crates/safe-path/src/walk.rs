//! From a path to a name in a directory that is held open, links followed only where it is safe.

use crate::owner::is_private;
use crate::{Place, SafePathError, User};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, PROC_SUPER_MAGIC, Stat};
use rustix::fs::{fstat, fstatfs, openat, readlinkat, statat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// As many as the kernel follows (path_resolution(7)).
const LINKS_AT_MOST: u32 = 40;
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

struct PathWalk {
    dir: OwnedFd,
    /// Where that is, without links.
    at: PathBuf,
    /// What is still to be walked, the last component first.
    ahead: Vec<OsString>,
    links: u32,
}

/// Walks to the last component of a path.
pub(crate) fn walk(path: &Path, follow_last: bool) -> Result<Place, SafePathError> {
    let not_a_name =
        |got| SafePathError::Kind { path: path.to_owned(), expected: "a file's name", got };
    if path.as_os_str().is_empty() {
        return Err(not_a_name("no name"));
    }
    let mut walk = PathWalk {
        dir: directory(CWD, ".").map_err(|errno| SafePathError::io("open", ".", errno))?,
        at: std::env::current_dir().map_err(|errno| SafePathError::io("open", ".", errno))?,
        ahead: Vec::new(),
        links: 0,
    };
    walk.push(path)?;
    let bytes = path.as_os_str().as_bytes();
    let wants_directory = bytes.ends_with(b"/") || bytes.ends_with(b"/.");
    while let Some(part) = walk.ahead.pop() {
        if part == ".." {
            walk.enter(OsStr::new(".."))?;
            continue;
        }
        let last = walk.ahead.is_empty();
        let there = match statat(&walk.dir, &part, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) => Some(there),
            Err(Errno::NOENT) if last => None,
            Err(errno) => return Err(SafePathError::io("find", walk.at.join(&part), errno)),
        };
        let kind = there.map(|there| FileType::from_raw_mode(there.st_mode));
        match kind {
            Some(FileType::Symlink) if !last || follow_last => {
                if walk.is_proc()? {
                    // The kernel's own links, which lead where no path may.
                    if last && !wants_directory {
                        return walk.place(part, true);
                    }
                    walk.enter_as_the_kernel_does(&part)?;
                } else {
                    walk.follow(&part)?;
                }
            }
            _ if !last => walk.enter(&part)?,
            None if wants_directory => return Err(not_a_name("a directory's name")),
            _ => return walk.place(part, false),
        }
    }
    Err(not_a_name("a directory"))
}

impl PathWalk {
    /// What is to be walked first from now on.
    fn push(&mut self, path: &Path) -> Result<(), SafePathError> {
        let mut parts = Vec::new();
        for part in path.components() {
            match part {
                Component::RootDir => {
                    self.dir = directory(CWD, "/")
                        .map_err(|errno| SafePathError::io("open", "/", errno))?;
                    self.at = PathBuf::from("/");
                }
                Component::ParentDir => parts.push(OsString::from("..")),
                Component::Normal(part) => parts.push(part.to_owned()),
                Component::CurDir | Component::Prefix(_) => {}
            }
        }
        self.ahead.extend(parts.into_iter().rev());
        Ok(())
    }

    fn enter(&mut self, part: &OsStr) -> Result<(), SafePathError> {
        let to = if part == ".." {
            self.at.parent().unwrap_or(&self.at).to_owned()
        } else {
            self.at.join(part)
        };
        self.dir = openat(&self.dir, part, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
            .map_err(|errno| SafePathError::io("open", &to, errno))?;
        self.at = to;
        Ok(())
    }

    fn enter_as_the_kernel_does(&mut self, part: &OsStr) -> Result<(), SafePathError> {
        let failed = |errno: std::io::Error| SafePathError::io("open", self.at.join(part), errno);
        self.dir = directory(&self.dir, part).map_err(|errno| failed(errno.into()))?;
        let to = std::fs::read_link(format!("/proc/self/fd/{}", self.dir.as_raw_fd()));
        self.at = to.map_err(failed)?;
        Ok(())
    }

    fn follow(&mut self, part: &OsStr) -> Result<(), SafePathError> {
        let path = self.at.join(part);
        let failed = |errno| SafePathError::io("follow", &path, errno);
        // Opened itself: the one that is looked at is the one that is read.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(&self.dir, part, flags, Mode::empty()).map_err(failed)?;
        let link = fstat(&opened).map_err(failed)?;
        let owner = User::new(link.st_uid);
        // Where others can write they can move our links, but not make any, save by further names.
        let ours = owner.is_ours() && link.st_nlink == 1;
        if !ours && !is_private(&self.stat()?) {
            return Err(SafePathError::Link { path, owner });
        }
        self.links += 1;
        if self.links > LINKS_AT_MOST {
            return Err(failed(Errno::LOOP));
        }
        // Errors if it is no link any more.
        let target = readlinkat(&opened, "", Vec::new()).map_err(failed)?;
        self.push(Path::new(&OsString::from_vec(target.into_bytes())))
    }

    fn stat(&self) -> Result<Stat, SafePathError> {
        fstat(&self.dir).map_err(|errno| SafePathError::io("look at", &self.at, errno))
    }

    fn is_proc(&self) -> Result<bool, SafePathError> {
        let about = fstatfs(&self.dir)
            .map_err(|errno| SafePathError::io("look at the file system of", &self.at, errno))?;
        Ok(about.f_type == PROC_SUPER_MAGIC)
    }

    fn place(self, name: OsString, kernels_link: bool) -> Result<Place, SafePathError> {
        let about = self.stat()?;
        Ok(Place { dir: self.dir, about, at: self.at, name, kernels_link })
    }
}

fn directory(
    from: impl std::os::fd::AsFd,
    name: impl rustix::path::Arg,
) -> rustix::io::Result<OwnedFd> {
    openat(from, name, DIRECTORY, Mode::empty())
}
