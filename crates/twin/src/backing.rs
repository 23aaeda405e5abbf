//! What a twin is kept in: a regular file with its names, or a block device.

use crate::device::TwinDevice;
use crate::trailer::SECTOR;
use crate::twin_image::StagedName;
use crate::{Inode, MarkerRecord, TwinError, TwinImage, TwinMarker, TwinPath, UnfinishedTwin};
use memtwin_pages::Layout;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a twin is kept in.
#[derive(Debug)]
pub(crate) enum TwinBacking {
    /// A regular file: made beside what is there, renamed, marked.
    File(TwinFile),
    /// A block device, which is written in place.
    BlockDevice(TwinDevice),
}

/// The names of a twin in a regular file.
#[derive(Debug)]
pub(crate) struct TwinFile {
    pub(crate) path: Arc<TwinPath>,
    /// `None` when the twin's life is over.
    pub(crate) marker: Option<TwinMarker>,
    /// What the marker said when it was taken.
    pub(crate) left: Option<MarkerRecord>,
}

impl TwinBacking {
    /// Where the twin is.
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::File(file) => file.path.path(""),
            Self::BlockDevice(device) => device.path.clone(),
        }
    }

    /// A new, empty image in the file of this suffix, or on the device, which has been looked at.
    pub(crate) fn create(
        &self,
        suffix: &'static str,
    ) -> Result<(File, Option<StagedName>), TwinError> {
        match self {
            Self::File(TwinFile { path, .. }) => {
                let file = path.create(suffix)?;
                Ok((file, Some(StagedName::new(Arc::clone(path), suffix))))
            }
            Self::BlockDevice(device) => Ok((device.handle()?, None)),
        }
    }

    /// Notes who is written by whom, durably.
    pub(crate) fn mark(&self, inode: Inode) -> Result<(), TwinError> {
        let Self::File(TwinFile { path, marker, .. }) = self else { return Ok(()) };
        if let Some(marker) = marker {
            marker.write(inode)?;
            marker.sync()?;
        }
        path.sync()
    }

    /// The names are on the disk.
    pub(crate) fn sync_names(&self) -> Result<(), TwinError> {
        match self {
            Self::File(file) => file.path.sync(),
            Self::BlockDevice(_) => Ok(()),
        }
    }

    /// Whether this is the image that has the twin's name.
    pub(crate) fn holds(&self, image: &TwinImage) -> bool {
        match self {
            Self::File(file) => file.path.inode("") == Some(image.inode),
            // Nobody else can have opened it.
            Self::BlockDevice(_) => true,
        }
    }

    /// Gives an image the twin's name, in place of what has it.
    pub(crate) fn promote(&self, image: &mut TwinImage) -> Result<(), TwinError> {
        if let (Self::File(file), Some(staged)) = (self, &mut image.staged) {
            file.path.rename("replace", staged.suffix, "")?;
            staged.disarm();
            image.staged = None;
        }
        Ok(())
    }

    /// Takes the twin's name away from an image that is not whole. A device says by its state that it
    /// is not.
    pub(crate) fn demote(&self, image: Inode, to: &'static str) -> Result<(), TwinError> {
        let Self::File(TwinFile { path, .. }) = self else { return Ok(()) };
        if path.inode("") != Some(image) {
            return Ok(());
        }
        path.rename("move away the incomplete", "", to)
    }

    /// The marker goes: nobody writes here any more.
    pub(crate) fn unmark(&mut self) -> Result<(), TwinError> {
        match self {
            Self::File(TwinFile { marker, .. }) => marker.take().map_or(Ok(()), TwinMarker::remove),
            Self::BlockDevice(_) => Ok(()),
        }
    }

    /// Errors if the layout does not fit what this is.
    pub(crate) fn check_layout(&self, layout: &Layout) -> Result<(), TwinError> {
        if !layout.bytes().is_multiple_of(SECTOR) {
            let (path, bytes) = (self.path(), layout.bytes());
            return Err(TwinError::NotWholeSectors { path, bytes });
        }
        let Self::BlockDevice(device) = self else { return Ok(()) };
        if layout.len() > 1 {
            return Err(TwinError::DeviceOfRegions {
                path: device.path.clone(),
                got: layout.len(),
            });
        }
        device.check_room(layout.bytes())
    }

    /// Takes the room for an image now, where that can be: it is there when a round needs it.
    pub(crate) fn allocate(&self, file: &File, bytes: u64, name: &Path) -> Result<(), TwinError> {
        let Self::File(_) = self else { return Ok(()) };
        match fallocate(file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
            Err(errno) => Err(TwinError::io("make room in", name, errno)),
        }
    }

    /// What an earlier writer has left under this suffix, if that is an unfinished twin.
    pub(crate) fn unfinished(
        &self,
        suffix: &str,
    ) -> Result<Option<(File, UnfinishedTwin)>, TwinError> {
        let (file, name) = match self {
            Self::File(TwinFile { path, .. }) => match path.open(suffix)? {
                Some(file) => (file, path.path(suffix)),
                None => return Ok(None),
            },
            Self::BlockDevice(device) if suffix.is_empty() => {
                (device.handle()?, device.path.clone())
            }
            Self::BlockDevice(_) => return Ok(None),
        };
        let state =
            UnfinishedTwin::find(&file).map_err(|errno| TwinError::io("look at", &name, errno))?;
        Ok(state.map(|state| (file, state)))
    }
}
