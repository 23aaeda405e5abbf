//! A twin on a block device: the image from its first byte on, and its state in the last 4096 bytes.
//!
//! There is no name to change and no length to cut, so the state stands at the device's end at all
//! times ([`trailer`]): unfinished from before the first byte of the image, finished when all of it is
//! there. A device that holds something else is not written to ([`signature`]) unless that is asked for.

mod journals;
pub(crate) mod signature;
pub(crate) mod trailer;

use crate::TwinError;
use journals::DeviceJournals;
use memtwin_safe_path::{Place, SafePathError, User};
use rustix::fs::{FileType, Mode, OFlags, openat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use trailer::{DeviceState, DeviceTrailer};

/// The part of a device, at its end, that holds the state.
pub(crate) const STATE_AREA: u64 = 4096;

/// How a block device is treated.
#[derive(Clone, Debug, Default)]
pub struct DeviceOptions {
    /// Write to it whatever it holds.
    pub force: bool,
    /// Where the journals of received twins lie: a device has no room for one. By default
    /// `$XDG_STATE_HOME/memtwin`, else `/var/lib/memtwin` for root, else `~/.local/state/memtwin`.
    pub journals: Option<PathBuf>,
}

/// A block device that is ours alone.
#[derive(Debug)]
pub(crate) struct TwinDevice {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    /// Where the state stands, which is what there is room for.
    pub(crate) room: u64,
    pub(crate) force: bool,
    pub(crate) journals: DeviceJournals,
}

/// The block device that `path` means, links followed; `None` if it means something else.
pub(crate) fn find(path: &Path) -> Result<Option<Place>, TwinError> {
    // What can't be found is told by whoever looks for a file.
    let Ok(place) = Place::find(path) else { return Ok(None) };
    let is_device = place.kind()? == Some(FileType::BlockDevice);
    Ok(is_device.then_some(place))
}

impl TwinDevice {
    /// Opens it for us alone. Nothing is written.
    ///
    /// Errors: it is another user's, in use, or holds what we have not written.
    pub(crate) fn open(place: &Place, options: &DeviceOptions) -> Result<Self, TwinError> {
        let path = place.path();
        let failed = |errno: io::Error| TwinError::io("open", &path, errno);
        // Of a block device that is in use, by a mount or another O_EXCL, open(2) says EBUSY.
        let flags = OFlags::RDWR | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(place.open_dir()?, place.name(), flags, Mode::empty());
        let file = match opened {
            Ok(file) => File::from(file),
            Err(Errno::BUSY) => return Err(TwinError::DeviceInUse { path }),
            Err(errno) => return Err(failed(errno.into())),
        };
        let about = file.metadata().map_err(failed)?;
        if !about.file_type().is_block_device() {
            return Err(TwinError::NotAFile { path, got: "a device that was replaced" });
        }
        let owner = User::new(about.uid());
        if !place.is_private() && !owner.is_ours() {
            return Err(SafePathError::NotOurs { path, owner }.into());
        }
        let bytes = length(&file).map_err(failed)?;
        let Some(room) = trailer::offset(bytes) else {
            return Err(TwinError::DeviceTooSmall { path, needed: 2 * STATE_AREA, got: bytes });
        };
        let journals = DeviceJournals::new(options.journals.clone());
        let this = Self { path, file, room, force: options.force, journals };
        if !this.force {
            this.check_content()?;
        }
        Ok(this)
    }

    fn failed(&self, doing: &'static str, errno: io::Error) -> TwinError {
        TwinError::io(doing, &self.path, errno)
    }

    /// What its state says now.
    pub(crate) fn state(&self) -> Result<DeviceState, TwinError> {
        DeviceState::of(&self.file).map_err(|errno| self.failed("look at", errno))
    }

    /// Errors if it holds what we have not written.
    fn check_content(&self) -> Result<(), TwinError> {
        let found = signature::find(&self.file).map_err(|errno| self.failed("look at", errno))?;
        let Some(found) = found else { return Ok(()) };
        // A guest's memory may look like anything. Ours is what is as it was when we finished it.
        if let DeviceState::Known(DeviceTrailer { probed: Some(probed), .. }) = self.state()?
            && signature::digest(&self.file).map_err(|errno| self.failed("look at", errno))?
                == probed
        {
            return Ok(());
        }
        Err(TwinError::DeviceHolds { path: self.path.clone(), found })
    }

    /// Errors if a receiver has left rounds of the twin that is here.
    pub(crate) fn check_not_received(&self) -> Result<(), TwinError> {
        let DeviceState::Known(DeviceTrailer { trailer, probed: None }) = self.state()? else {
            return Ok(());
        };
        match self.journals.of(&trailer.image)? {
            Some(journal) if journal.is_there(".journal") && !self.force => {
                let (path, journal) = (self.path.clone(), journal.path(".journal"));
                Err(TwinError::ReceivedOnDevice { path, journal })
            }
            _ => Ok(()),
        }
    }

    /// Errors if there is no room for an image of this many bytes and its state.
    pub(crate) fn check_room(&self, bytes: u64) -> Result<(), TwinError> {
        if bytes <= self.room {
            return Ok(());
        }
        let (needed, got) = (bytes.saturating_add(STATE_AREA), self.room + STATE_AREA);
        Err(TwinError::DeviceTooSmall { path: self.path.clone(), needed, got })
    }

    /// Another handle.
    pub(crate) fn handle(&self) -> Result<File, TwinError> {
        self.file.try_clone().map_err(|errno| self.failed("duplicate", errno))
    }
}

/// Whether an open file is a block device.
pub(crate) fn is_device(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.file_type().is_block_device())
}

/// The length in bytes of a regular file or a block device.
pub(crate) fn length(file: &File) -> io::Result<u64> {
    let about = file.metadata()?;
    if !about.file_type().is_block_device() {
        return Ok(about.len());
    }
    // A device's metadata says 0; its end is what BLKGETSIZE64 tells, and needs no ioctl.
    let mut device = file;
    device.seek(SeekFrom::End(0))
}
