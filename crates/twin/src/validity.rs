//! Whether an image may be taken for what it shows: docs/twins.md.
//!
//! The word that counts is the file's own, its trailer. The marker beside it is heard as well, for a
//! twin that an earlier version has left; it can refuse an image, but never make one whole.

use crate::TwinError;
use crate::marker::{Inode, MarkerRecord};
use crate::twin_path::beside;
use crate::unfinished_twin::TrailerState;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What is known about an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageValidity {
    /// Nothing speaks against it: a finished twin, or an image that never was one of ours.
    Whole,
    /// A finished twin on a block device, which is longer than it.
    OnDevice {
        /// The length in bytes of the image, which begins at the device's first byte.
        bytes: u64,
    },
    /// A twin that is being written, or that was left while it was.
    Unfinished {
        /// The length in bytes of what there is of the image.
        bytes: u64,
        /// The process that writes it, or wrote it.
        pid: u32,
    },
    /// Perhaps a twin that was left while it was written.
    Unproven {
        /// The length in bytes of what there is of the image.
        bytes: u64,
        /// What speaks against it, and what to do about it.
        why: String,
    },
}

impl ImageValidity {
    /// Looks at the regular file or block device that was opened as `path`. Errors: it, or the marker beside it,
    /// can't be read.
    pub fn of(file: &File, path: &Path) -> Result<Self, TwinError> {
        let failed = |errno| TwinError::io("look at", path, errno);
        let about = file.metadata().map_err(failed)?;
        // A device has no marker: nobody else can open it while it is written.
        let marked = match about.is_file() {
            true => MarkerFinding::find(Inode::of(&about), path)?,
            false => MarkerFinding::No,
        };
        let unproven = |bytes, why: &str| Self::Unproven { bytes, why: why.to_owned() };
        Ok(match (TrailerState::of(file).map_err(failed)?, marked) {
            (TrailerState::Unfinished(trailer), MarkerFinding::By(pid)) => {
                Self::Unfinished { bytes: trailer.bytes, pid }
            }
            (TrailerState::Unfinished(trailer), _) => {
                Self::Unfinished { bytes: trailer.bytes, pid: trailer.pid }
            }
            (TrailerState::Finished(bytes), _) => Self::OnDevice { bytes },
            (TrailerState::Damaged(bytes), _) => unproven(
                bytes,
                "it ends in the damaged trailer of an unfinished twin; replicate again",
            ),
            (TrailerState::Blank(bytes), _) => unproven(
                bytes,
                "it has the length of an unfinished twin and zeros for its trailer, as after a \
                 power loss; replicate again",
            ),
            (TrailerState::Plain, MarkerFinding::By(pid)) => {
                Self::Unfinished { bytes: about.len(), pid }
            }
            (TrailerState::Plain, MarkerFinding::Empty(marker)) => Self::Unproven {
                bytes: about.len(),
                why: format!(
                    "its marker {} is empty, as after a power loss; replicate again, or remove the \
                     marker if you know that the image is whole",
                    marker.display()
                ),
            },
            (TrailerState::Plain, MarkerFinding::No) => Self::Whole,
        })
    }
}

/// Who writes or was killed while writing the twin that is at `path` now; `None` if nothing speaks
/// against it, or there is no file. The process is 0 if it is not known. Errors: as
/// [`ImageValidity::of`].
pub fn is_marked_incomplete(path: impl AsRef<Path>) -> Result<Option<u32>, TwinError> {
    let path = path.as_ref();
    // Not to be held up by a fifo.
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let Ok(file) = OpenOptions::new().read(true).custom_flags(flags).open(path) else {
        return Ok(None);
    };
    Ok(match ImageValidity::of(&file, path)? {
        ImageValidity::Whole | ImageValidity::OnDevice { .. } => None,
        ImageValidity::Unfinished { pid, .. } => Some(pid),
        ImageValidity::Unproven { .. } => Some(0),
    })
}

/// What the marker of a twin says about a file.
enum MarkerFinding {
    /// Nothing, or there is none.
    No,
    /// This process writes it, or wrote it.
    By(u32),
    /// It has no words: whoever made it has not come to write them, or they never reached the disk.
    Empty(PathBuf),
}

impl MarkerFinding {
    fn find(file: Inode, path: &Path) -> Result<Self, TwinError> {
        // Without a name there is no marker.
        let Ok(path) = path.canonicalize() else { return Ok(Self::No) };
        let mut marked = Self::No;
        for twin in twins_of(&path) {
            let marker = beside(&twin, ".replicating");
            match MarkerRecord::read(&marker) {
                Ok(Some(record)) if record.twin == file => return Ok(Self::By(record.pid)),
                Ok(None) if marker.symlink_metadata().is_ok_and(|about| about.is_file()) => {
                    marked = Self::Empty(marker);
                }
                Ok(_) | Err(TwinError::NotAMarker { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(marked)
    }
}

/// The twins to which a file of this name may belong: it is one, or what there is of one so far.
fn twins_of(path: &Path) -> impl Iterator<Item = PathBuf> {
    let whole = path.as_os_str().as_bytes().strip_suffix(b".partial");
    let whole = whole.map(|bytes| PathBuf::from(OsStr::from_bytes(bytes)));
    std::iter::once(path.to_owned()).chain(whole)
}
