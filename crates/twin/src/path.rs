//! From the path that was given to the file that it means: path_resolution(7).

use crate::TwinError;
use rustix::fs::{Access, access};
use std::ffi::OsString;
use std::fs::{self, File, FileType};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Follows symbolic links to the file that `path` means, which need not exist yet.
///
/// Errors unless that is a regular file that we may write, or a free name in a directory.
pub(crate) fn resolve(path: &Path) -> Result<PathBuf, TwinError> {
    let mut at = path.to_owned();
    loop {
        let failed = |errno| TwinError::io("open", path, errno);
        let kind = match fs::metadata(&at) {
            Ok(there) => Some(there.file_type()),
            Err(errno) if errno.kind() == ErrorKind::NotFound => None,
            Err(errno) => return Err(failed(errno)),
        };
        if let Some(kind) = kind {
            if !kind.is_file() {
                return Err(TwinError::NotAFile { path: path.to_owned(), got: name_of(kind) });
            }
            access(&at, Access::WRITE_OK).map_err(|errno| failed(errno.into()))?;
            return at.canonicalize().map_err(failed);
        }
        match fs::read_link(&at) {
            // A link to a name that is still free. A circle of links was an error above.
            Ok(target) => at = directory(&at).join(target),
            Err(_) => return free_name(path, &at),
        }
    }
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

/// Makes a directory and those above it, as far as they are missing, on the disk.
pub(crate) fn make_directory(path: &Path) -> Result<(), TwinError> {
    if path.is_dir() {
        return Ok(());
    }
    let above = directory(path);
    make_directory(above)?;
    match fs::create_dir(path) {
        // Somebody else was quicker.
        Err(_) if path.is_dir() => {}
        made => made.map_err(|errno| TwinError::io("make the directory", path, errno))?,
    }
    sync_directory(above)
}

fn free_name(given: &Path, at: &Path) -> Result<PathBuf, TwinError> {
    let not_a_file = |got| TwinError::NotAFile { path: given.to_owned(), got };
    let name = at.file_name().ok_or_else(|| not_a_file("no name"))?;
    if at.as_os_str().as_bytes().ends_with(b"/") {
        return Err(not_a_file("a directory's name"));
    }
    let directory = directory(at);
    let directory =
        directory.canonicalize().map_err(|errno| TwinError::io("find", directory, errno))?;
    Ok(directory.join(name))
}

fn name_of(kind: FileType) -> &'static str {
    match kind {
        _ if kind.is_dir() => "a directory",
        _ if kind.is_fifo() => "a pipe",
        _ if kind.is_socket() => "a socket",
        _ if kind.is_char_device() || kind.is_block_device() => "a device",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
