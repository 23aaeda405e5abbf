//! The twin's file, which does not outlive the run unless it is to be kept.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// A twin's file. Removed when dropped if it is ours and not to be kept.
#[derive(Debug)]
pub(crate) struct TwinFile {
    path: PathBuf,
    keep: bool,
    /// Whether a replication has written it: until then it may be somebody else's.
    pub(crate) ours: bool,
}

impl TwinFile {
    pub(crate) fn new(path: PathBuf, keep: bool) -> Self {
        Self { path, keep, ours: false }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where it is now: one that is not the memory's equal is moved aside.
    pub(crate) fn found(&self) -> PathBuf {
        if self.path.exists() { self.path.clone() } else { self.partial() }
    }

    /// Removes it, if it is ours.
    pub(crate) fn remove(&mut self) {
        if std::mem::take(&mut self.ours) {
            // One of them is not there; what can't be removed is replaced.
            let _ = fs::remove_file(&self.path);
            let _ = fs::remove_file(self.partial());
        }
    }

    fn partial(&self) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(".partial");
        name.into()
    }
}

impl Drop for TwinFile {
    fn drop(&mut self) {
        if !self.keep {
            self.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("twin");
        for (ours, keep, left) in [(false, false, true), (true, true, true), (true, false, false)] {
            fs::write(&path, "x").unwrap();
            fs::write(dir.path().join("twin.partial"), "x").unwrap();
            let mut twin = TwinFile::new(path.clone(), keep);
            twin.ours = ours;
            drop(twin);
            assert_eq!(path.exists(), left);
            assert_eq!(dir.path().join("twin.partial").exists(), left);
        }
    }
}
