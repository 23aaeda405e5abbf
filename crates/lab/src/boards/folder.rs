//! The folder of a lab: sockets, keys, consoles ([`RunFolder`]: what a killed one has left, the next
//! removes).

use super::LabError;
use crate::command;
use crate::run_folder::{RunFolder, RunFolderError};
use crate::{CommandError, Progress};
use memtwin_safe_path::{make_dirs, new_private_dir};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How the folders of labs in the system's place for temporary files begin.
const PREFIX: &str = "memtwin-boards-";
/// How long a folder's name may be: what a socket's path may have (unix(7)), less the longest name in
/// it and what ssh puts behind that of its own.
const LONGEST: usize = 108 - 48;
/// How long a key may take.
const KEY: Duration = Duration::from_secs(60);

/// The folder of a lab, removed when this is dropped.
#[derive(Debug)]
pub struct LabFolder(RunFolder);

impl LabFolder {
    /// A folder among the system's temporary files. Those of labs that were killed go away.
    ///
    /// Errors: none can be made there.
    pub fn temporary() -> Result<Self, LabError> {
        Self::short(RunFolder::temporary(PREFIX)?)
    }

    /// A folder of a given name. What a lab that was killed has left there is removed.
    ///
    /// Errors: another lab has it, or it is not a lab's, or can't be made.
    pub fn at(path: &Path) -> Result<Self, LabError> {
        if RunFolder::is_one(path) {
            let dead = RunFolder::of_the_dead(path);
            drop(dead.ok_or_else(|| LabError::Taken { path: path.to_owned() })?);
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            make_dirs(parent).map_err(LabError::place(parent))?;
        }
        let path = new_private_dir(path).map_err(LabError::place(path))?;
        Self::short(RunFolder::locked(path)?)
    }

    fn short(folder: RunFolder) -> Result<Self, LabError> {
        if folder.path().as_os_str().len() > LONGEST {
            return Err(LabError::LongPath { path: folder.path().to_owned() });
        }
        Ok(Self(folder))
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Where a board's console is kept.
    pub fn console(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.console"))
    }

    /// Where a board's console takes what others type.
    pub fn keyboard(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.keyboard"))
    }

    /// Leaves the consoles where they are; all else goes.
    pub fn keep_consoles(&mut self) {
        self.0.keep(true);
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
        if !self.0.is_kept() {
            return;
        }
        for path in crate::kernel::children(self.0.path()) {
            if path.extension().is_none_or(|ending| ending != "console") {
                let _ = fs::remove_file(&path);
            }
        }
    }
}

impl From<RunFolderError> for LabError {
    fn from(RunFolderError { path, error }: RunFolderError) -> Self {
        Self::File { path, error }
    }
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
        let lock_of_the_dead = left.join("memtwin-lab.lock");
        fs::remove_file(&lock_of_the_dead).unwrap();
        fs::File::create(&lock_of_the_dead).unwrap();
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
