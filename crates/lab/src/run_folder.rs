//! A folder of a run's own. It is locked as long as the run goes on, so that what a killed one has left
//! is known, and removed by the next.

use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// What says that a folder is a run's. No other program calls a file so: what has it is removed with all
/// that is in it once its run is dead.
const LOCK: &str = "memtwin-lab.lock";

/// A folder that can't be obtained.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}; set TMPDIR to a place that is yours", path.display())]
pub struct RunFolderError {
    /// The path.
    pub path: PathBuf,
    /// What the system said.
    pub error: io::Error,
}

/// A folder, removed when this is dropped.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    keep: bool,
    _lock: File,
}

impl RunFolder {
    /// A folder among the system's temporary files, whose name begins so. Those of runs that were killed
    /// go away.
    ///
    /// Errors: none can be made there.
    pub fn temporary(prefix: &str) -> Result<Self, RunFolderError> {
        let place = std::env::temp_dir();
        for old in crate::kernel::children(&place) {
            let named = old.file_name().is_some_and(|name| {
                name.as_encoded_bytes().starts_with(prefix.as_bytes()) && is_ours(&old)
            });
            if named {
                drop(Self::of_the_dead(&old));
            }
        }
        let path = tempfile::Builder::new().prefix(prefix).tempdir_in(&place);
        // From here on it is ours to remove.
        let path = path.map_err(|error| RunFolderError { path: place, error })?.keep();
        Self::locked(path)
    }

    /// The folder of a run that was killed; none if it is another's, or its run goes on.
    pub(crate) fn of_the_dead(path: &Path) -> Option<Self> {
        if !is_ours(path) {
            return None;
        }
        let lock = File::open(path.join(LOCK)).ok()?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()?;
        Some(Self { path: path.to_owned(), keep: false, _lock: lock })
    }

    /// Whether a folder is a run's, alive or dead.
    pub(crate) fn is_one(path: &Path) -> bool {
        path.join(LOCK).exists() && is_ours(path)
    }

    /// Takes a folder that was just made.
    pub(crate) fn locked(path: PathBuf) -> Result<Self, RunFolderError> {
        // Locked before it has its name: without one, nobody takes the folder for a dead run's.
        let file = path.join("locked");
        let failed = |error| RunFolderError { path: file.clone(), error };
        let made = File::create(&file).map_err(failed)?;
        flock(&made, FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| failed(errno.into()))?;
        fs::rename(&file, path.join(LOCK)).map_err(failed)?;
        Ok(Self { path, keep: false, _lock: made })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.keep
    }

    /// Whether it stays when this is dropped. No later run removes it then.
    pub fn keep(&mut self, keep: bool) {
        self.keep = keep;
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        // What can't be removed now, the next run removes.
        let _ = match self.keep {
            true => fs::remove_file(self.path.join(LOCK)),
            false => fs::remove_dir_all(&self.path),
        };
    }
}

fn is_ours(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let own = rustix::process::geteuid().as_raw();
    path.symlink_metadata().is_ok_and(|found| found.is_dir() && found.uid() == own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_kept_belongs_to_nobody() {
        let prefix = format!("memtwin-test-{}-", std::process::id());
        let mut kept = RunFolder::temporary(&prefix).unwrap();
        kept.keep(true);
        let path = kept.path().to_owned();
        assert!(RunFolder::is_one(&path));
        assert!(RunFolder::of_the_dead(&path).is_none(), "its run goes on");
        drop(kept);
        drop(RunFolder::temporary(&prefix).unwrap());
        assert!(path.exists() && !RunFolder::is_one(&path));
        fs::remove_dir_all(path).unwrap();
    }
}
