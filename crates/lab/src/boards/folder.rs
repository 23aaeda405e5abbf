//! The folder of a lab: sockets, keys, consoles. It is locked as long as the lab is up, so that what a
//! killed one has left is known, and removed by the next.

use super::LabError;
use crate::command;
use crate::{CommandError, Progress};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How the folders of labs in the system's place for temporary files begin.
const PREFIX: &str = "memtwin-boards-";
/// What says that a folder is a lab's. No other program calls a file so: what has it is removed with all
/// that is in it once its lab is dead.
const LOCK: &str = "memtwin-lab.lock";
/// How long a folder's name may be: what a socket's path may have (unix(7)), less the longest name in
/// it and what ssh puts behind that of its own.
const LONGEST: usize = 108 - 48;
/// How long a key may take.
const KEY: Duration = Duration::from_secs(60);

/// The folder of a lab, removed when this is dropped.
#[derive(Debug)]
pub struct LabFolder {
    path: PathBuf,
    keep: bool,
    _lock: File,
}

impl LabFolder {
    /// A folder among the system's temporary files. Those of labs that were killed go away.
    ///
    /// Errors: none can be made there.
    pub fn temporary() -> Result<Self, LabError> {
        let place = std::env::temp_dir();
        for old in crate::kernel::children(&place) {
            let ours = old.file_name().is_some_and(|name| {
                name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) && is_ours(&old)
            });
            if ours && let Some(lock) = lock(&old) {
                drop(Self { path: old, keep: false, _lock: lock });
            }
        }
        let path = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&place);
        // From here on it is ours to remove.
        let path = path.map_err(LabError::file(&place))?.keep();
        Self::locked(path)
    }

    /// A folder of a given name. What a lab that was killed has left there is removed.
    ///
    /// Errors: another lab has it, or it is not a lab's, or can't be made.
    pub fn at(path: &Path) -> Result<Self, LabError> {
        if path.join(LOCK).exists() && is_ours(path) {
            let lock = lock(path).ok_or_else(|| LabError::Taken { path: path.to_owned() })?;
            drop(Self { path: path.to_owned(), keep: false, _lock: lock });
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(LabError::file(parent))?;
        }
        DirBuilder::new().mode(0o700).create(path).map_err(LabError::file(path))?;
        Self::locked(path.to_owned())
    }

    fn locked(path: PathBuf) -> Result<Self, LabError> {
        // Locked before it has its name: without one, nobody takes the folder for a dead lab's.
        let file = path.join("locked");
        let made = File::create(&file).map_err(LabError::file(&file))?;
        let held = flock(&made, FlockOperation::NonBlockingLockExclusive);
        held.map_err(|errno| LabError::file(&file)(errno.into()))?;
        fs::rename(&file, path.join(LOCK)).map_err(LabError::file(&file))?;
        let folder = Self { path, keep: false, _lock: made };
        if folder.path.as_os_str().len() > LONGEST {
            return Err(LabError::LongPath { path: folder.path.clone() });
        }
        Ok(folder)
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where a board's console is kept.
    pub fn console(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.console"))
    }

    /// Leaves the consoles where they are; all else goes.
    pub fn keep_consoles(&mut self) {
        self.keep = true;
    }

    /// A pair of keys of this lab's own; the private one.
    pub(super) fn new_key(&self, progress: &mut dyn Progress) -> Result<PathBuf, LabError> {
        let key = self.path("key");
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "memtwin-lab", "-f"]).arg(&key);
        match command::run(&mut keygen, KEY, progress) {
            Ok(()) => Ok(key),
            Err(CommandError::Start { .. }) => {
                Err(LabError::Missing { program: "ssh-keygen", package: "openssh-client" })
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for LabFolder {
    fn drop(&mut self) {
        // What can't be removed now, the next lab removes.
        if !self.keep {
            let _ = fs::remove_dir_all(&self.path);
            return;
        }
        for path in crate::kernel::children(&self.path) {
            if path.extension().is_none_or(|ending| ending != "console") {
                let _ = fs::remove_file(&path);
            }
        }
    }
}

/// The lock of a folder that no lab has. One that has no lock is none of a lab's.
fn lock(folder: &Path) -> Option<File> {
    let file = File::open(folder.join(LOCK)).ok()?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    Some(file)
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
    fn a_folder_belongs_to_one_lab_and_what_a_killed_one_left_goes() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lab");
        let first = LabFolder::at(&path).unwrap();
        let error = LabFolder::at(&path).unwrap_err().to_string();
        assert!(error.ends_with("`memtwin lab down` ends it"), "{error}");
        fs::write(first.path("left"), "").unwrap();
        // Killed: the lock is free, the files are there.
        let left = path.clone();
        std::mem::forget(first);
        let lock_of_the_dead = left.join(LOCK);
        fs::remove_file(&lock_of_the_dead).unwrap();
        File::create(&lock_of_the_dead).unwrap();
        let second = LabFolder::at(&path).unwrap();
        assert!(!second.path("left").exists());
        drop(second);
        assert!(!path.exists());
        // What is no lab's is left alone.
        fs::create_dir(&path).unwrap();
        fs::write(path.join("mine"), "").unwrap();
        // As many programs call theirs, and our own cache.
        fs::write(path.join("lock"), "").unwrap();
        assert!(LabFolder::at(&path).is_err());
        assert!(path.join("mine").exists());
    }

    #[test]
    fn consoles_may_stay() {
        let mut folder = LabFolder::temporary().unwrap();
        let (console, key) = (folder.console("a"), folder.path("key"));
        fs::write(&console, "last words").unwrap();
        fs::write(&key, "secret").unwrap();
        folder.keep_consoles();
        drop(folder);
        assert!(console.exists() && !key.exists());
        fs::remove_dir_all(console.parent().unwrap()).unwrap();
    }
}
