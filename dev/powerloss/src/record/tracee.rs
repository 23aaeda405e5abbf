//! A thread that is stopped at a system call: what it asks for, and what is in its memory.

use crate::RecordError;
use nix::sys::ptrace;
use nix::unistd::Pid;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A path is no longer than this (PATH_MAX).
const MOST_PATH: usize = 4096;

/// A stopped thread.
pub(super) struct Tracee(pub(super) Pid);

/// Why it is stopped.
pub(super) enum TraceStop {
    /// It asks for the call of this number, with these arguments.
    Entry(i64, [u64; 6]),
    /// The call has returned this.
    Exit(i64),
    /// Something else.
    Other,
}

impl Tracee {
    #[allow(unsafe_code, reason = "the kernel's answer is a union, told apart by its first field")]
    pub(super) fn stop(&self) -> Result<TraceStop, RecordError> {
        let info = ptrace::syscall_info(self.0)?;
        Ok(match info.op {
            libc::PTRACE_SYSCALL_INFO_ENTRY => {
                // SAFETY: with this `op` it is this field that the kernel has filled in.
                let entry = unsafe { info.u.entry };
                TraceStop::Entry(entry.nr as i64, entry.args)
            }
            libc::PTRACE_SYSCALL_INFO_EXIT => {
                // SAFETY: with this `op` it is this field that the kernel has filled in.
                let exit = unsafe { info.u.exit };
                TraceStop::Exit(exit.sval)
            }
            _ => TraceStop::Other,
        })
    }

    fn memory(&self) -> io::Result<File> {
        File::open(format!("/proc/{}/mem", self.0))
    }

    pub(super) fn bytes(&self, at: u64, len: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len as usize];
        self.memory()?.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    /// A path that an argument points to.
    fn text(&self, mut at: u64) -> io::Result<PathBuf> {
        let memory = self.memory()?;
        let mut text = Vec::new();
        while text.len() < MOST_PATH {
            let mut byte = [0];
            memory.read_exact_at(&mut byte, at)?;
            if byte == [0] {
                return Ok(std::ffi::OsString::from_vec(text).into());
            }
            text.push(byte[0]);
            at += 1;
        }
        Err(io::Error::other("a path without an end"))
    }

    /// The path that it means: its directory as it is, symbolic links resolved, and its last part.
    /// `None`: there is no such directory.
    pub(super) fn path(&self, directory: i32, at: u64) -> io::Result<Option<PathBuf>> {
        let text = self.text(at)?;
        let base = match directory {
            libc::AT_FDCWD => fs::read_link(format!("/proc/{}/cwd", self.0))?,
            _ if text.is_absolute() => PathBuf::new(),
            fd => fs::read_link(self.descriptor(fd))?,
        };
        let path = base.join(text);
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
        Ok(above.canonicalize().ok().map(|above| above.join(name)))
    }

    fn descriptor(&self, fd: i32) -> PathBuf {
        format!("/proc/{}/fd/{fd}", self.0).into()
    }

    /// What is open as this descriptor.
    pub(super) fn metadata(&self, fd: i32) -> io::Result<Metadata> {
        fs::metadata(self.descriptor(fd))
    }

    /// The name of what is open as this descriptor.
    pub(super) fn name(&self, fd: i32) -> io::Result<PathBuf> {
        fs::read_link(self.descriptor(fd))
    }

    /// The offset of a descriptor.
    pub(super) fn position(&self, fd: i32) -> io::Result<u64> {
        let about = fs::read_to_string(Path::new(&format!("/proc/{}/fdinfo/{fd}", self.0)))?;
        let position = about.lines().find_map(|line| line.strip_prefix("pos:"));
        position
            .and_then(|text| text.trim().parse().ok())
            .ok_or_else(|| io::Error::other("a descriptor without a position"))
    }
}
