//! Directories made on the way to a name.

use crate::check::name_of;
use crate::{Place, SafePathError};
use rustix::fs::{FileType, Mode, mkdirat};
use rustix::io::Errno;
use std::io::ErrorKind;
use std::path::Path;

/// Makes a directory and those above it, as far as they are missing; on the disk when this returns.
///
/// Errors: a link on the way is one that others can have planted; something else has the name; the
/// system refuses.
pub fn make_dirs(path: &Path) -> Result<(), SafePathError> {
    let place = match Place::find(path) {
        Ok(place) => place,
        // `/`, `.` and `..` are there.
        Err(SafePathError::Kind { got: "a directory" | "a directory's name", .. })
            if path.is_dir() =>
        {
            return Ok(());
        }
        // A slash at its end, which a directory's name may have.
        Err(SafePathError::Kind { got: "a directory's name", .. }) => {
            let bare: std::path::PathBuf = path.components().collect();
            return make_dirs(&bare);
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            match path.parent().filter(|above| !above.as_os_str().is_empty()) {
                Some(above) => make_dirs(above)?,
                None => return Err(error),
            }
            Place::find(path)?
        }
        Err(error) => return Err(error),
    };
    match place.kind()? {
        Some(FileType::Directory) => return Ok(()),
        Some(_) if place.kernels_link && path.is_dir() => return Ok(()),
        Some(kind) => {
            let (path, expected) = (place.path(), "a directory or nothing");
            return Err(SafePathError::Kind { path, expected, got: name_of(kind) });
        }
        None => {}
    }
    match mkdirat(&place.dir, &place.name, Mode::from_raw_mode(0o777)) {
        // Somebody else was quicker; what it is will show.
        Ok(()) | Err(Errno::EXIST) => place.sync_dir(),
        Err(errno) => Err(place.failed("make the directory", errno)),
    }
}
