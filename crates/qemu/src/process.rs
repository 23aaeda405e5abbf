//! QEMU as a process: one that is the right one, and stays so.

use crate::block::Block;
use crate::maps::{BackingFile, MemoryMaps};
use crate::refusal;
use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::OwnedFd;

/// Why the guest's memory can't be read.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// QEMU has ended: what was read last means nothing.
    #[error("QEMU (process {pid}) has ended")]
    Gone {
        /// Its process id.
        pid: u32,
    },
    /// No process is the one that QMP speaks for.
    #[error("no process has this guest's memory: {reason}; give QEMU's process id with --pid")]
    NotFound {
        /// Where was looked.
        reason: String,
    },
    /// A process that does not have the memory which QEMU says it has.
    #[error(
        "process {pid} is not this QEMU: it has nothing readable at {hva:#x}, where block {block} \
         has {bytes} bytes; give the right one with --pid"
    )]
    NotMapped {
        /// Its process id.
        pid: u32,
        /// The block.
        block: String,
        /// Where it should be in that process.
        hva: u64,
        /// How many bytes it should have.
        bytes: u64,
    },
    /// Another QEMU, with its memory at the same addresses.
    #[error(
        "process {pid} is not the QEMU behind this monitor, though it has memory at the same \
         addresses: what the monitor was given or told went to another process; leave --pid out, \
         or give the right one"
    )]
    NotBehind {
        /// Its process id.
        pid: u32,
    },
    /// It can't be shown to be the right one.
    #[error(
        "process {pid} has memory where this QEMU has it, but can't be shown to be the one behind \
         this monitor: {reason}; connect to a socket that QEMU made itself (-qmp unix:PATH,server=on,wait=off)"
    )]
    Unproved {
        /// Its process id.
        pid: u32,
        /// What kept us from it.
        reason: String,
    },
    /// QEMU does not say where a block is.
    #[error(
        "block {block}: this QEMU does not say where it lies in its memory; QEMU 8.2 and later do"
    )]
    NoAddress {
        /// The block.
        block: String,
    },
    /// The system does not let us.
    #[error("not allowed to read the memory of QEMU (process {pid}): {reason}")]
    Refused {
        /// Its process id.
        pid: u32,
        /// Why, and the way out.
        reason: String,
    },
    /// Memory that was there is there no more.
    #[error(
        "cannot read {bytes} bytes at {hva:#x} of QEMU (process {pid}): {errno}; was memory unplugged?"
    )]
    Unreadable {
        /// Its process id.
        pid: u32,
        /// Where.
        hva: u64,
        /// How many bytes.
        bytes: usize,
        /// What the system said.
        errno: io::Error,
    },
    /// Something else failed.
    #[error("{what}: {errno}")]
    System {
        /// What was done.
        what: String,
        /// What the system said.
        errno: io::Error,
    },
}

impl MemoryError {
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |errno| Self::System { what, errno }
    }
}

/// A running QEMU.
///
/// Held by a pidfd: once it has ended, nothing is read any more, even if another process gets its
/// id.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    pidfd: OwnedFd,
    maps: MemoryMaps,
}

impl Process {
    /// The process of this id, which must have all blocks where QEMU says that it has them: of a QEMU
    /// that the caller has started. Of any other see [`Process::behind`].
    ///
    /// Errors: [`MemoryError::NotMapped`] if it is another process; it is gone; we may not look.
    pub fn of_pid(pid: u32, blocks: &[Block]) -> Result<Self, MemoryError> {
        let process = Self::open(pid)?;
        match process.lacks(blocks) {
            None => Ok(process),
            Some((block, hva)) => Err(MemoryError::NotMapped {
                pid,
                block: block.name.clone(),
                hva,
                bytes: block.used,
            }),
        }
    }

    /// The process of this id, whatever it is.
    pub(crate) fn open(pid: u32) -> Result<Self, MemoryError> {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let raw = raw.ok_or(MemoryError::Gone { pid })?;
        let pidfd = pidfd_open(raw, PidfdFlags::empty()).map_err(|errno| match errno {
            rustix::io::Errno::SRCH => MemoryError::Gone { pid },
            errno => MemoryError::system(format!("pidfd_open of process {pid}"))(errno.into()),
        })?;
        let maps = MemoryMaps::of(pid).map_err(|errno| match errno.kind() {
            io::ErrorKind::NotFound => MemoryError::Gone { pid },
            io::ErrorKind::PermissionDenied => {
                MemoryError::Refused { pid, reason: refusal::why(pid) }
            }
            _ if errno.raw_os_error() == Some(Errno::ESRCH as i32) => MemoryError::Gone { pid },
            _ => MemoryError::system(format!("/proc/{pid}/maps"))(errno),
        })?;
        // The maps were those of the process that the pidfd holds if that has not ended since.
        let process = Self { pid, pidfd, maps };
        process.alive()?;
        Ok(process)
    }

    /// The same process, with the memory that it has now.
    ///
    /// Errors: it has ended, or may not be looked at.
    pub fn again(&self) -> Result<Self, MemoryError> {
        self.alive()?;
        let again = Self::open(self.pid)?;
        // Only if it has not ended since is the other one this one.
        self.alive().map(|()| again)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Errors if it has ended.
    pub fn alive(&self) -> Result<(), MemoryError> {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        match rustix::io::retry_on_intr(|| poll(&mut fds, Some(&Timespec::default()))) {
            Ok(0) => Ok(()),
            Ok(_) => Err(MemoryError::Gone { pid: self.pid }),
            Err(errno) => {
                Err(MemoryError::system(format!("poll of process {}", self.pid))(errno.into()))
            }
        }
    }

    /// The first block that it does not have, and where it should be. Those of unknown place are
    /// not looked for, nor those that are not migrated: nobody reads them.
    pub(crate) fn lacks<'a>(&self, blocks: &'a [Block]) -> Option<(&'a Block, u64)> {
        blocks
            .iter()
            .filter(|block| block.is_named && block.used > 0)
            .filter_map(|block| block.hva.map(|hva| (block, hva)))
            .find(|(block, hva)| !self.maps.cover(*hva, block.used))
    }

    /// The file behind this memory, if there is one that shares all of it.
    pub(crate) fn backing(&self, hva: u64, bytes: u64) -> Option<BackingFile> {
        self.maps.backing(hva, bytes)
    }

    /// Copies memory from there on, as many bytes as `into` holds (process_vm_readv(2)).
    pub(crate) fn read(&self, hva: u64, into: &mut [u8]) -> Result<(), MemoryError> {
        let mut done = 0;
        while done < into.len() {
            let at = hva.saturating_add(done as u64);
            let bytes = into.len() - done;
            let read = self.read_some(at, &mut into[done..]);
            // Also if it succeeded: it may have been another process's memory.
            self.alive()?;
            match read {
                Ok(0) => return Err(self.unreadable(at, bytes, Errno::EFAULT)),
                Ok(more) => done += more,
                Err(Errno::EINTR) => {}
                Err(Errno::EPERM | Errno::EACCES) => {
                    return Err(MemoryError::Refused {
                        pid: self.pid,
                        reason: refusal::why(self.pid),
                    });
                }
                Err(errno) => return Err(self.unreadable(at, bytes, errno)),
            }
        }
        Ok(())
    }

    /// Errors if its memory may not be read: as [`Process::read`] would find, but nothing is touched.
    /// (Opening /proc/PID/mem takes the same right, proc_pid_mem(5).)
    pub(crate) fn may_be_read(&self) -> Result<(), MemoryError> {
        let opened = File::open(format!("/proc/{}/mem", self.pid));
        self.alive()?;
        match opened {
            Ok(_) => Ok(()),
            Err(errno) if errno.kind() == io::ErrorKind::PermissionDenied => {
                Err(MemoryError::Refused { pid: self.pid, reason: refusal::why(self.pid) })
            }
            Err(errno) => Err(MemoryError::system(format!("/proc/{}/mem", self.pid))(errno)),
        }
    }

    fn read_some(&self, hva: u64, into: &mut [u8]) -> Result<usize, Errno> {
        let base = usize::try_from(hva).map_err(|_| Errno::EFAULT)?;
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid).map_err(|_| Errno::ESRCH)?);
        let remote = [RemoteIoVec { base, len: into.len() }];
        process_vm_readv(pid, &mut [IoSliceMut::new(into)], &remote)
    }

    fn unreadable(&self, hva: u64, bytes: usize, errno: Errno) -> MemoryError {
        MemoryError::Unreadable { pid: self.pid, hva, bytes, errno: errno.into() }
    }
}
