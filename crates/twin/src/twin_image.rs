//! A twin's bytes and their state: an open file or block device that is unfinished until the end.

use crate::{Inode, TwinError, TwinPath, UnfinishedTwin};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An open image, unfinished. One that has not [gone live](crate::TwinStore::go_live) is removed when
/// this is dropped.
#[derive(Debug)]
pub struct TwinImage {
    pub(crate) file: File,
    /// What errors call it.
    pub(crate) name: PathBuf,
    pub(crate) inode: Inode,
    pub(crate) state: UnfinishedTwin,
    pub(crate) staged: Option<StagedName>,
}

/// The name of an image that has not gone live: it goes with this.
#[derive(Debug)]
pub(crate) struct StagedName {
    pub(crate) path: Arc<TwinPath>,
    pub(crate) suffix: &'static str,
    armed: bool,
}

impl StagedName {
    pub(crate) fn new(path: Arc<TwinPath>, suffix: &'static str) -> Self {
        Self { path, suffix, armed: true }
    }

    /// The name stays when this goes.
    pub(crate) fn disarm(&mut self) {
        self.armed = false;
    }

    fn remove(mut self) -> Result<(), TwinError> {
        self.armed = false;
        self.path.remove(self.suffix)
    }
}

impl Drop for StagedName {
    fn drop(&mut self) {
        if self.armed {
            // What can't be removed is replaced by the next.
            let _ = self.path.remove(self.suffix);
        }
    }
}

impl TwinImage {
    fn failed(&self, doing: &'static str, errno: std::io::Error) -> TwinError {
        TwinError::io(doing, &self.name, errno)
    }

    /// Another handle of the file or device.
    pub fn handle(&self) -> Result<File, TwinError> {
        self.file.try_clone().map_err(|errno| self.failed("duplicate", errno))
    }

    /// What errors call it.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// The image's own random number, which its state has.
    pub fn number(&self) -> [u8; 16] {
        self.state.trailer().image
    }

    /// The image's length in bytes.
    pub fn bytes(&self) -> u64 {
        self.state.trailer().bytes
    }

    /// All of `round` is in it: syncs it, and then notes that, durably.
    pub fn checkpoint(&mut self, round: u32) -> Result<(), TwinError> {
        self.sync()?;
        let noted = self.state.checkpoint(&self.file, round);
        noted.map_err(|errno| self.failed("sync", errno))
    }

    /// What was written is on the disk.
    pub fn sync(&self) -> Result<(), TwinError> {
        self.file.sync_data().map_err(|errno| self.failed("sync", errno))
    }

    /// It stays when this goes, though it has not gone live: somebody has noted its number.
    pub fn keep_staged(&mut self) {
        if let Some(staged) = &mut self.staged {
            staged.disarm();
        }
    }

    /// Removes one that has not gone live. Errors: it can't be removed.
    pub(crate) fn discard(mut self) -> Result<(), TwinError> {
        self.staged.take().map_or(Ok(()), StagedName::remove)
    }
}
