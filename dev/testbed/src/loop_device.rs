//! A block device for a test: a loop device over a file in a directory of its own.

use memtwin_child::Spawn;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A loop device. The kernel detaches it when this is dropped, and also if the test is killed: it is told
/// to at once, and waits only for the last who has it open (loop(4), LO_FLAGS_AUTOCLEAR).
#[derive(Debug)]
pub struct LoopDevice {
    dir: tempfile::TempDir,
    path: PathBuf,
    /// Keeps it attached.
    _held: File,
}

/// A mount in a mount namespace of its own, gone when this is dropped or the test is killed.
#[derive(Debug)]
pub struct MountedDevice(Child);

impl LoopDevice {
    /// One of this many bytes, all zero. Errors: not root, no `losetup`, no free device.
    pub fn new(bytes: u64) -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        let backing = dir.path().join("backing");
        File::create(&backing)?.set_len(bytes)?;
        let mut show = Command::new("losetup");
        let path = output(show.args(["--find", "--show"]).arg(&backing))?;
        let path = PathBuf::from(path.trim());
        let held = OpenOptions::new().read(true).open(&path);
        let detached = output(Command::new("losetup").arg("--detach").arg(&path));
        let this = Self { dir, path, _held: held? };
        detached.map(|_| this)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its file has: what is on the disk, and not only on its way there.
    pub fn durable(&self) -> io::Result<Vec<u8>> {
        fs::read(self.dir.path().join("backing"))
    }

    /// What one reads from it.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        fs::read(&self.path)
    }

    /// Runs a program on it (`mkfs.ext4 -q`): its path is the last argument.
    pub fn run(&self, program: &str, arguments: &[&str]) -> io::Result<()> {
        output(Command::new(program).args(arguments).arg(&self.path)).map(|_| ())
    }

    /// Mounts it somewhere that nobody else sees.
    pub fn mount(&self) -> io::Result<MountedDevice> {
        let at = self.dir.path().join("mounted");
        fs::create_dir_all(&at)?;
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "sh",
            "-c",
            "mount \"$1\" \"$2\" && echo mounted && exec cat",
            "sh",
        ]);
        command.arg(&self.path).arg(at).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut mounted = MountedDevice(command.spawn_bound()?);
        let mut said = [0; 8];
        match &mut mounted.0.stdout {
            Some(stdout) => stdout.read_exact(&mut said)?,
            None => return Err(io::ErrorKind::BrokenPipe.into()),
        }
        Ok(mounted)
    }
}

impl Drop for MountedDevice {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a program says, if it ends well.
fn output(command: &mut Command) -> io::Result<String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = command.spawn_bound()?.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(io::Error::other(format!("{command:?}: {said}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
