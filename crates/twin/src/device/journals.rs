//! Where the journals of received twins lie whose images are on block devices.
//!
//! A journal is named by its image's random number, not by the device: `/dev/sdb` may be `/dev/sdc`
//! after a boot, and what lies in `/dev` itself does not outlast one.

use crate::trailer::hex;
use crate::{TwinError, TwinPath};
use memtwin_safe_path::{User, make_dirs, private_dir};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The directory of the journals, whether it is there yet or not.
#[derive(Debug)]
pub(crate) struct DeviceJournals {
    dir: Option<PathBuf>,
}

impl DeviceJournals {
    pub(crate) fn new(dir: Option<PathBuf>) -> Self {
        Self { dir: dir.or_else(default_dir) }
    }

    /// Makes the directory, which is this user's alone. Errors: it can't be made, or is not.
    pub(crate) fn make(&self) -> Result<PathBuf, TwinError> {
        let Some(dir) = &self.dir else { return Err(TwinError::NoStateDirectory) };
        if let Some(parent) = dir.parent() {
            make_dirs(parent)?;
        }
        Ok(private_dir(dir)?)
    }

    /// The place of the journal of this image; `None` if there is no directory of journals yet.
    pub(crate) fn of(&self, image: &[u8; 16]) -> Result<Option<Arc<TwinPath>>, TwinError> {
        match &self.dir {
            Some(dir) if dir.is_dir() => place(dir, image).map(Some),
            _ => Ok(None),
        }
    }

    /// The same, in a directory that is made if it is missing.
    pub(crate) fn make_of(&self, image: &[u8; 16]) -> Result<Arc<TwinPath>, TwinError> {
        place(&self.make()?, image)
    }
}

fn place(dir: &Path, image: &[u8; 16]) -> Result<Arc<TwinPath>, TwinError> {
    Ok(Arc::new(TwinPath::exact(&dir.join(format!("twin-{}", hex(image))))?))
}

/// As the XDG base directory specification has it; for root as file-hierarchy(7).
fn default_dir() -> Option<PathBuf> {
    let from = |name| std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
    // Root who has kept a user's environment has that user's directory.
    let ours =
        |dir: &PathBuf| dir.metadata().is_ok_and(|about| User::new(about.uid()) == User::this());
    let set = from("XDG_STATE_HOME").filter(ours);
    let system = (User::this().uid() == 0).then(|| PathBuf::from("/var/lib"));
    let home = || from("HOME").filter(ours).map(|home| home.join(".local/state"));
    set.or(system).or_else(home).map(|dir| dir.join("memtwin"))
}
