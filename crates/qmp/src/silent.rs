//! What a socket is that takes a connection and does not greet: QEMU's other sockets (a guest agent's
//! channel, a serial line) are silent, and look to a client as a monitor does that somebody else has.
//!
//! Nothing is sent to find out: it could be typed into a guest's shell. What is known comes from the
//! kernel (who listens, `SO_PEERCRED`; whether the connection was accepted, `/proc/net/unix`,
//! `/proc/net/tcp`) and from that process's command line.

use crate::address::{LibvirtDomain, MonitorAddress};
use crate::command_line::{OtherSocket, QemuCommandLine, libvirt_domain};
use crate::{QmpError, peer};
use rustix::net::{SocketAddrUnix, getpeername};
use std::fs;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

/// Says why nothing came.
pub(crate) fn why(
    socket: BorrowedFd<'_>,
    address: &MonitorAddress,
    patience: Duration,
) -> QmpError {
    let address = address.clone();
    if let Some(what) = what_is(socket, &address) {
        let way_out = way_out(socket);
        return QmpError::Silent { address, patience, what, way_out };
    }
    let bound = bound_path(socket).unwrap_or_default();
    let accepted = match &address {
        MonitorAddress::Tcp { .. } => peer::is_accepted(socket),
        _ => is_accepted(&bound),
    };
    if accepted {
        let what = "so it is no monitor (a guest agent's channel or a serial line is as silent), or QEMU hangs";
        let way_out = way_out(socket);
        return QmpError::Silent { address, patience, what, way_out };
    }
    if let Some(domain) = libvirt_domain(Path::new(&bound)) {
        let through = MonitorAddress::Libvirt(LibvirtDomain { domain, uri: None }.into());
        return QmpError::HeldByLibvirt { address, patience, through: through.into() };
    }
    let find = match &address {
        MonitorAddress::Tcp { port, .. } => format!("ss -tnp | grep :{port}"),
        MonitorAddress::Path(path) => format!("ss -xp | grep {}", path.display()),
        _ => format!("ss -xp | grep {bound}"),
    };
    QmpError::Busy { address, patience, find }
}

/// What it is if it is known to be no QMP.
pub(crate) fn what_is(socket: BorrowedFd<'_>, address: &MonitorAddress) -> Option<&'static str> {
    let bound = bound_path(socket).unwrap_or_default();
    let known = command_line(socket).other_use(&bound);
    let named = || match address {
        MonitorAddress::Path(path) => OtherSocket::of_name(path),
        _ => None,
    };
    known.or_else(named).map(OtherSocket::what)
}

/// Where the monitor is.
fn way_out(socket: BorrowedFd<'_>) -> String {
    let bound = bound_path(socket).unwrap_or_default();
    let monitor = command_line(socket).monitor();
    match monitor.filter(|monitor| monitor.to_string() != bound) {
        Some(monitor) => format!("its QEMU's monitor is {monitor}"),
        None => "give the path of QEMU's -qmp option".to_owned(),
    }
}

/// Who listens on the other end, as a person knows it: `socat (process 7)`.
pub(crate) fn listener(socket: BorrowedFd<'_>) -> Option<String> {
    let pid = peer::pid(socket).ok()??;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(format!("{} (process {pid})", name.trim().escape_default()))
}

fn command_line(socket: BorrowedFd<'_>) -> QemuCommandLine {
    let pid = peer::pid(socket).ok().flatten();
    pid.map(QemuCommandLine::of).unwrap_or_default()
}

/// The path to which the other end is bound, as it gave it; of an abstract socket its name.
fn bound_path(socket: BorrowedFd<'_>) -> Option<String> {
    let address = SocketAddrUnix::try_from(getpeername(socket).ok()??).ok()?;
    let path = address.path_bytes().or(address.abstract_name())?;
    let path = path.strip_suffix(b"\0").unwrap_or(path);
    String::from_utf8(path.to_vec()).ok().filter(|path| !path.is_empty())
}

/// Whether no connection to this path waits to be accepted. QEMU does not accept a second client of a
/// monitor; whether one that it accepted is silent is another matter.
fn is_accepted(bound: &str) -> bool {
    let sockets = fs::read("/proc/net/unix").unwrap_or_default();
    let text = String::from_utf8_lossy(&sockets);
    all_accepted(&text, bound)
}

/// `Num: RefCount Protocol Flags Type St Inode Path` (proc_pid_net(5)). A connection that waits has no
/// inode yet; the one that listens must be seen, or the table is another network namespace's.
fn all_accepted(table: &str, bound: &str) -> bool {
    let ours = table.lines().filter_map(|line| {
        let line = line.strip_suffix(bound)?;
        let line = line.strip_suffix(" @").or_else(|| line.strip_suffix(' '))?;
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        (fields.len() == 7).then(|| (fields[3] == "00010000", fields[6] == "0"))
    });
    let ours: Vec<(bool, bool)> = ours.collect();
    !bound.is_empty()
        && ours.iter().any(|(listens, _)| *listens)
        && !ours.iter().any(|(_, waits)| *waits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn what_waits_is_told_from_what_was_accepted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a socket");
        let listener = UnixListener::bind(&path).unwrap();
        let client = UnixStream::connect(&path).unwrap();
        let bound = bound_path(client.as_fd()).unwrap();
        assert_eq!(bound, path.to_str().unwrap());
        assert!(!is_accepted(&bound));
        let _server = listener.accept().unwrap();
        assert!(is_accepted(&bound));
        assert!(!all_accepted("", &bound) && !is_accepted("") && !is_accepted("/none"));
        assert!(
            super::listener(client.as_fd()).unwrap().ends_with(&format!("{})", std::process::id()))
        );
    }
}
