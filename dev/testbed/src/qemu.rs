//! A QEMU with a QMP socket.

use crate::keeper::KeptChild;
use memtwin_wait::Deadline;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// How long QEMU may take to make its socket, and how often it is looked for.
const STARTING: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A QEMU that runs. Killed, with its directory removed, when dropped; killed by the kernel when
/// the test's process dies.
#[derive(Debug)]
pub struct Qemu {
    kept: KeptChild,
    dir: TempDir,
}

/// Why QEMU did not start.
#[derive(Debug)]
pub struct StartError(String);

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

impl Qemu {
    /// Starts `program` (see [`crate::program`]) with these arguments, without default devices and without a display, the
    /// first serial port going to a file.
    ///
    /// Returns when its QMP socket is there. Errors: it ended before, with what it said.
    pub fn start<A: AsRef<OsStr>>(program: &str, arguments: &[A]) -> Result<Self, StartError> {
        Self::start_in(tempfile::tempdir()?, program, arguments)
    }

    /// As [`Qemu::start`], in a directory that may hold files for it, and becomes its working
    /// directory.
    pub fn start_in<A: AsRef<OsStr>>(
        dir: TempDir,
        program: &str,
        arguments: &[A],
    ) -> Result<Self, StartError> {
        Self::start_program(dir, &crate::program(program), arguments)
    }

    /// As [`Qemu::start`], but a QEMU of this version, `7.2` for instance; see
    /// [`release_program`](crate::release_program).
    pub fn start_version<A: AsRef<OsStr>>(
        version: &str,
        program: &str,
        arguments: &[A],
    ) -> Result<Self, StartError> {
        let program = crate::release_program(version, program);
        Self::start_program(tempfile::tempdir()?, program.as_os_str(), arguments)
    }

    fn start_program<A: AsRef<OsStr>>(
        dir: TempDir,
        program: &OsStr,
        arguments: &[A],
    ) -> Result<Self, StartError> {
        let mut command = Command::new(program);
        command
            .args(["-nodefaults", "-display", "none", "-serial", "file:console"])
            .args([
                "-qmp",
                &format!("unix:{},server=on,wait=off", Self::qmp_in(dir.path()).display()),
            ])
            .args(arguments)
            .current_dir(dir.path());
        Self::launch(dir, command)
    }

    /// Starts a QEMU by a whole command, which makes its QMP socket at [`Qemu::qmp_in`] of this
    /// directory.
    pub fn launch(dir: TempDir, mut command: Command) -> Result<Self, StartError> {
        let program = PathBuf::from(command.get_program());
        command
            .stdin(Stdio::null())
            .stdout(File::create(dir.path().join("stdout"))?)
            .stderr(File::create(dir.path().join("stderr"))?);
        let kept = KeptChild::spawn(command)
            .map_err(|error| StartError(format!("{}: {error}", program.display())))?;
        let mut qemu = Self { kept, dir };
        let deadline = Deadline::after(STARTING);
        while !listens(qemu.pid(), &qemu.qmp()) {
            if let Some(status) = qemu.kept.child.try_wait()? {
                let said = fs::read_to_string(qemu.dir().join("stderr")).unwrap_or_default();
                return Err(StartError(format!("{}: {status}: {said}", program.display())));
            }
            if deadline.is_over() {
                return Err(StartError(format!("{}: no QMP socket", program.display())));
            }
            deadline.sleep(POLL_INTERVAL);
        }
        Ok(qemu)
    }

    /// Where the QMP socket of a QEMU lies whose directory this is.
    pub fn qmp_in(dir: &Path) -> PathBuf {
        dir.join("qmp")
    }

    /// The path of its QMP socket.
    pub fn qmp(&self) -> PathBuf {
        Self::qmp_in(self.dir())
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.kept.child.try_wait()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.kept.child.id()
    }

    /// Its directory: stdout, stderr, console, and what the test puts there.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What the guest has written to its first serial port so far.
    pub fn console(&self) -> String {
        let bytes = fs::read(self.dir().join("console")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Kills it, and waits for its end. Its files stay until it is dropped.
    pub fn kill(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.kept.child.kill();
        let _ = self.kept.child.wait();
    }
}

/// Whether somebody listens on a unix socket in a process's network namespace, found out without
/// connecting to it: the flag `__SO_ACCEPTCON` in /proc/PID/net/unix (proc_pid_net(5)).
fn listens(pid: u32, socket: &Path) -> bool {
    let sockets = fs::read_to_string(format!("/proc/{pid}/net/unix")).unwrap_or_default();
    sockets.lines().any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.get(3) == Some(&"00010000") && fields.get(7).map(Path::new) == Some(socket)
    })
}
