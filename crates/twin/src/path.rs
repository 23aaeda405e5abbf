//! From the path that was given to the file that it means: path_resolution(7).

use crate::TwinError;
use memtwin_safe_path::Place;
use rustix::fs::{Access, access};
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Follows symbolic links to the file that `path` means, which need not exist yet.
///
/// Errors unless that is a regular file that we may write, or a free name in a directory; or where
/// another user can have put there a link or the file.
pub(crate) fn resolve(path: &Path) -> Result<PathBuf, TwinError> {
    let place = Place::find(path)?;
    place.check_replaceable()?;
    let at = place.path();
    if place.kind()?.is_some() {
        access(&at, Access::WRITE_OK).map_err(|errno| TwinError::io("open", path, errno))?;
    }
    Ok(at)
}

/// Gives a file another name, that of what is there too. Neither is a link's end, and no link that
/// another user can have put there is on the way.
pub(crate) fn rename(doing: &'static str, from: &Path, to: &Path) -> Result<(), TwinError> {
    Place::find_name(from)?.rename(&Place::find_name(to)?).map_err(|error| {
        match error.into_errno() {
            Ok(errno) => TwinError::io(doing, to, errno),
            Err(refused) => refused.into(),
        }
    })
}

/// Removes a name, if it is there.
pub(crate) fn remove_if_there(path: &Path) -> Result<(), TwinError> {
    Ok(Place::find_name(path)?.remove()?)
}

/// The sidecar of a resolved path: its name with something appended.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// The directory that a path's last part lies in.
pub(crate) fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// What was done to the names in a directory is on the disk.
pub(crate) fn sync_directory(directory: &Path) -> Result<(), TwinError> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|errno| TwinError::io("sync", directory, errno))
}
#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    fn refused(path: &Path) -> String {
        resolve(path).unwrap_err().to_string()
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
        assert_eq!(resolve(&dir.join("to-file")).unwrap(), file);
        assert_eq!(resolve(&dir.join("to-to-free")).unwrap(), free);
        assert_eq!(resolve(&dir.join("free")).unwrap(), free);
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
