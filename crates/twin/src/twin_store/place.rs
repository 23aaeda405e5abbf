//! Who writes a twin, and what its path means.

use super::{FIRST, PARTIAL};
use crate::{TwinError, TwinPath, device};
use memtwin_safe_path::Place;
use std::path::Path;

/// Who writes the twin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreRole {
    /// This process reads the guest. If it dies, the twin is worth nothing.
    Local,
    /// A sender on another host, to whom rounds are promised: they outlast this process.
    Received,
}

impl StoreRole {
    /// What a new image is called until it goes live.
    pub(super) fn staged(self) -> &'static str {
        match self {
            Self::Local => PARTIAL,
            Self::Received => FIRST,
        }
    }
}

/// What a path means, before anything there is touched.
#[derive(Debug)]
pub enum TwinPlace {
    /// A regular file, or a free name.
    File(TwinPath),
    /// A block device.
    BlockDevice(Place),
}

impl TwinPlace {
    /// What `path` means. Links to a block device are followed where nobody else can have put them;
    /// to a file only for a local twin.
    ///
    /// Errors: it is neither, or may be another user's.
    pub fn find(path: &Path, role: StoreRole) -> Result<Self, TwinError> {
        if let Some(device) = device::find(path)? {
            return Ok(Self::BlockDevice(device));
        }
        match role {
            StoreRole::Local => TwinPath::resolve(path).map(Self::File),
            StoreRole::Received => TwinPath::exact(path).map(Self::File),
        }
    }
}
