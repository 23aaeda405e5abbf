//! The proof that a process is the QEMU behind a monitor, and no other one like it.
//!
//! That it has memory where this QEMU says that its blocks are is not enough: without address space
//! randomization two QEMUs have their blocks at the same addresses, and the wrong one's memory would
//! be judged as if it were the right one's. Content is no proof either, as two guests of one image
//! have the same. What only the right one can have is
//!
//! - the socket: the kernel says who listened on it (SO_PEERCRED, unix(7)), and who holds its other
//!   end;
//! - a descriptor that was given to it over this monitor (`getfd`) a moment ago, and is taken back;
//! - where no descriptor passes: a connection to a socket of ours that nobody else knows, made when QEMU was
//!   told over this monitor to connect there (`chardev-add`), and ended again.

use crate::callback::CallbackSocket;
use crate::discover::{holds, inodes_of_peer};
use crate::process::MemoryError;
use memtwin_qmp::{Qmp, QmpError};
use rustix::fs::{MemfdFlags, memfd_create};
use serde::de::IgnoredAny;
use serde_json::json;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// What the descriptor is called in QEMU.
const NAME: &str = "memtwin-whose-monitor";

/// Whether this process is the one behind the connection.
///
/// Errors: that can't be found out.
pub(crate) fn is_behind(qmp: &mut Qmp, pid: u32) -> Result<bool, MemoryError> {
    let peer = qmp.peer_pid().map_err(MemoryError::system("SO_PEERCRED of the QMP socket"))?;
    if peer == Some(pid) || holds(pid, &inodes_of_peer(qmp.as_fd())) {
        return Ok(true);
    }
    let unproved = |reason| MemoryError::Unproved { pid, reason };
    match takes_what_is_given(qmp, pid) {
        Err(NotGiven::NoDescriptors) => connects_when_told(qmp, pid).map_err(unproved),
        Err(NotGiven::Failed(reason)) => Err(unproved(reason)),
        Ok(has) => Ok(has),
    }
}

/// Why a process can't be looked through for what was given.
enum NotGiven {
    /// None passes.
    NoDescriptors,
    /// Something failed.
    Failed(String),
}

/// Gives a file that nobody else has to QEMU, and looks whether this process has it then.
fn takes_what_is_given(qmp: &mut Qmp, pid: u32) -> Result<bool, NotGiven> {
    let system = |errno: io::Error| NotGiven::Failed(errno.to_string());
    let file = memfd_create("memtwin-whose-monitor", MemfdFlags::CLOEXEC)
        .map(File::from)
        .map_err(|errno| system(errno.into()))?;
    let about = file.metadata().map_err(system)?;
    let ours = (about.dev(), about.ino());
    qmp.send_fd(NAME, file.as_fd()).map_err(|error| match error {
        QmpError::NoDescriptors { .. } => NotGiven::NoDescriptors,
        error => NotGiven::Failed(error.to_string()),
    })?;
    let has = fs::read_dir(format!("/proc/{pid}/fd")).map(|entries| {
        let files = entries.filter_map(|entry| fs::metadata(entry.ok()?.path()).ok());
        files.into_iter().any(|file| (file.dev(), file.ino()) == ours)
    });
    let taken_back: Result<IgnoredAny, QmpError> =
        qmp.execute("closefd", json!({ "fdname": NAME }));
    taken_back.map_err(|error| NotGiven::Failed(error.to_string()))?;
    has.map_err(system)
}

/// Has QEMU connect to a socket of ours, and looks whether it is this process that does.
fn connects_when_told(qmp: &mut Qmp, pid: u32) -> Result<bool, String> {
    // By the time of the answer it is connected.
    const TIMEOUT: Duration = Duration::from_secs(5);
    let socket = CallbackSocket::new(pid).map_err(|errno| errno.to_string())?;
    let id = format!("{NAME}-{}", std::process::id());
    let address = json!({ "type": "unix", "data": { "path": socket.path() } });
    let backend = json!({ "type": "socket", "data": { "addr": address, "server": false } });
    let told: Result<IgnoredAny, QmpError> =
        qmp.execute("chardev-add", json!({ "id": id, "backend": backend }));
    told.map_err(|error| error.to_string())?;
    let who = socket.accept(TIMEOUT);
    let taken_back: Result<IgnoredAny, QmpError> =
        qmp.execute("chardev-remove", json!({ "id": id }));
    taken_back.map_err(|error| error.to_string())?;
    match who.map_err(|errno| errno.to_string())? {
        Some((_, who)) => Ok(who == Some(pid)),
        None => Err(format!("QEMU has not connected to {}", socket.path().display())),
    }
}
