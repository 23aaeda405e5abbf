//! Which process is the QEMU that we speak QMP with: the one that the socket names, or, where
//! that is who merely made the socket for it (libvirt does), the one that has the guest's memory.

use crate::block::Block;
use crate::process::{MemoryError, Process};
use crate::proof::is_behind;
use memtwin_qmp::Qmp;
use rustix::net::{SocketAddrUnix, getpeername};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

impl Process {
    /// The process behind this connection, which must have all blocks where QEMU says that it has
    /// them.
    ///
    /// Errors: none has, or which one it is can't be shown, or we may not look.
    pub fn find(qmp: &mut Qmp, blocks: &[Block]) -> Result<Self, MemoryError> {
        let mut named = blocks.iter().filter(|block| block.is_named);
        if let Some(block) = named.next()
            && block.hva.is_none()
            && named.all(|block| block.hva.is_none())
        {
            return Err(MemoryError::NoAddress { block: block.name.clone() });
        }
        let peer = qmp.peer_pid().map_err(MemoryError::system("SO_PEERCRED of the QMP socket"))?;
        if let Some(pid) = peer {
            match Self::open(pid) {
                Ok(process) if process.lacks(blocks).is_none() => return Ok(process),
                // Who made the socket may be gone, or be another.
                Ok(_) | Err(MemoryError::Gone { .. } | MemoryError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let (fitting, hidden) = search(blocks);
        match behind(fitting, qmp)? {
            Some(process) => Ok(process),
            // If that one may not be looked at, it is most likely the one.
            None => Err(match peer.filter(|pid| hidden.contains(pid)) {
                Some(pid) => MemoryError::Refused { pid, reason: crate::refusal::why(pid) },
                None => MemoryError::NotFound {
                    reason: format!(
                        "the socket names process {}, and {} processes may not be looked at",
                        peer.map_or("none".to_owned(), |pid| pid.to_string()),
                        hidden.len()
                    ),
                },
            }),
        }
    }

    /// The process of this id, which must be the one behind this connection, and have all blocks
    /// where QEMU says that it has them.
    ///
    /// Errors: as [`Process::of_pid`]; [`MemoryError::NotBehind`] if it is another QEMU with its
    /// memory at the same addresses; whether it is can't be found out.
    pub fn behind(qmp: &mut Qmp, pid: u32, blocks: &[Block]) -> Result<Self, MemoryError> {
        let process = Self::of_pid(pid, blocks)?;
        if !is_behind(qmp, pid)? {
            return Err(MemoryError::NotBehind { pid });
        }
        // It was this process, and no later one of the same id.
        process.alive()?;
        Ok(process)
    }
}

/// All processes that have these blocks, and those that we may not look at.
fn search(blocks: &[Block]) -> (Vec<Process>, HashSet<u32>) {
    let (mut fitting, mut hidden) = (Vec::new(), HashSet::new());
    for pid in processes() {
        match Process::open(pid) {
            Ok(process) if process.lacks(blocks).is_none() => fitting.push(process),
            Err(MemoryError::Refused { .. }) => {
                hidden.insert(pid);
            }
            _ => {}
        }
    }
    (fitting, hidden)
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// The one behind this connection, also if it is the only one that has the blocks: the right one may
/// be hidden from us. None if there is none.
fn behind(fitting: Vec<Process>, qmp: &mut Qmp) -> Result<Option<Process>, MemoryError> {
    for process in fitting {
        if is_behind(qmp, process.pid())? {
            process.alive()?;
            return Ok(Some(process));
        }
    }
    Ok(None)
}

/// The sockets that are bound to the path which we are connected to (`/proc/net/unix`,
/// proc_pid_net(5)): the one that listens, and those that it accepted.
pub(crate) fn inodes_of_peer(socket: BorrowedFd<'_>) -> HashSet<u64> {
    let address = getpeername(socket).ok().flatten();
    let address = address.and_then(|address| SocketAddrUnix::try_from(address).ok());
    let Some(path) = address.as_ref().and_then(SocketAddrUnix::path_bytes) else {
        return HashSet::new();
    };
    let path = path.strip_suffix(b"\0").unwrap_or(path);
    let sockets = fs::read("/proc/net/unix").unwrap_or_default();
    sockets.split(|byte| *byte == b'\n').filter_map(|line| inode_bound_to(line, path)).collect()
}

/// `Num: RefCount Protocol Flags Type St Inode Path`.
fn inode_bound_to(line: &[u8], path: &[u8]) -> Option<u64> {
    let line = line.strip_suffix(path)?.strip_suffix(b" ")?;
    let mut fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    let inode = fields.nth(6)?;
    if fields.next().is_some() {
        return None;
    }
    std::str::from_utf8(inode).ok()?.parse().ok()
}

pub(crate) fn holds(pid: u32, inodes: &HashSet<u64>) -> bool {
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    fds.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| inode_of_link(link.as_os_str()))
        .any(|inode| inodes.contains(&inode))
}

/// `socket:[1234]`.
fn inode_of_link(link: &OsStr) -> Option<u64> {
    let inode = link.as_bytes().strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(inode).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn a_line_of_a_bound_socket() {
        let line = b"0000000000000000: 00000002 00000000 00010000 0001 01 43751 /run/a path";
        assert_eq!(inode_bound_to(line, b"/run/a path"), Some(43751));
        assert_eq!(inode_bound_to(line, b"path"), None);
        assert_eq!(inode_bound_to(line, b"/run/b"), None);
        assert_eq!(inode_of_link(OsStr::new("socket:[7]")), Some(7));
        assert_eq!(inode_of_link(OsStr::new("pipe:[7]")), None);
    }

    #[test]
    fn who_holds_the_other_end_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a socket");
        let _listener = UnixListener::bind(&path).unwrap();
        let socket = UnixStream::connect(&path).unwrap();
        let inodes = inodes_of_peer(socket.as_fd());
        assert!(!inodes.is_empty());
        assert!(holds(std::process::id(), &inodes));
        assert!(!holds(std::process::id(), &HashSet::from([u64::MAX])));
        let (unbound, _other) = UnixStream::pair().unwrap();
        assert!(inodes_of_peer(unbound.as_fd()).is_empty());
    }
}
