//! A disk of a test's own: an ext4 on a loop device, which can be frozen. Gone at its end, also thawed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) struct Disk {
    dir: tempfile::TempDir,
}

fn done(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Disk {
    /// Makes and mounts it. The test runs as root.
    pub(crate) fn new(mib: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        assert!(done("mkfs.ext4", &["-q", "-F", image.to_str().unwrap()]));
        let this = Self { dir };
        std::fs::create_dir(this.path()).unwrap();
        let path = this.path();
        assert!(done("mount", &["-o", "loop", image.to_str().unwrap(), path.to_str().unwrap()]));
        this
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("mounted")
    }

    /// From here on whoever writes to it waits.
    pub(crate) fn freeze(&self) {
        assert!(done("fsfreeze", &["-f", self.path().to_str().unwrap()]));
    }

    pub(crate) fn thaw(&self) {
        assert!(done("fsfreeze", &["-u", self.path().to_str().unwrap()]));
    }

    /// A file on it.
    pub(crate) fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let path = self.path();
        let path = path.to_str().unwrap();
        // It may be thawed already.
        done("fsfreeze", &["-u", path]);
        if !done("umount", &[path]) {
            done("umount", &["-l", path]);
        }
    }
}
