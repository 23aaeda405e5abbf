//! From a path to a connection on which QEMU takes commands.

use crate::QmpError;
use crate::message::{is_greeting, quoted};
use crate::monitor_socket::{LONGEST_LINE, MonitorSocket, ReadStop, deadline};
use crate::silent;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How often a full queue is tried again.
const AGAIN: Duration = Duration::from_millis(20);

/// Connects, and waits for the greeting.
pub(crate) fn greeted(path: &Path, patience: Duration) -> Result<MonitorSocket, QmpError> {
    let until = deadline(patience);
    let mut wire = MonitorSocket::new(connected(path, patience, until)?);
    let line = loop {
        if let Some(line) = wire.next_message() {
            break line;
        }
        // What does not begin like a message need not end like one: a prompt has no line end.
        let begun = wire.rest().trim_ascii_start();
        if begun.first().is_some_and(|byte| *byte != b'{') {
            break begun.to_vec();
        }
        let more = wire.wait(PollFlags::IN, until).and_then(|_| wire.fill());
        more.map_err(|stop| failed(path, patience, &wire, stop))?;
    };
    if is_greeting(&line) { Ok(wire) } else { Err(not_qmp(path, &line)) }
}

fn connected(path: &Path, patience: Duration, until: Instant) -> Result<OwnedFd, QmpError> {
    let other = |errno: Errno| QmpError::Connect { path: path.into(), errno: errno.into() };
    let address = SocketAddrUnix::new(path).map_err(|errno| match errno {
        Errno::NAMETOOLONG => QmpError::Connect {
            path: path.into(),
            errno: io::Error::other(
                "too long for a socket; go to its directory and give a relative path",
            ),
        },
        errno => other(errno),
    })?;
    // Not blocking, as connecting waits for ever while the server's queue is full (unix(7)).
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(other)?;
    loop {
        match connect(&socket, &address) {
            Ok(()) => return Ok(socket),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if Instant::now() < until => thread::sleep(AGAIN),
            Err(Errno::AGAIN) => return Err(QmpError::Busy { path: path.into(), patience }),
            Err(Errno::NOENT) => return Err(no_socket(path)),
            Err(Errno::ACCESS | Errno::PERM) => {
                return Err(QmpError::Permission { path: path.into() });
            }
            Err(Errno::PROTOTYPE | Errno::NOTDIR) => {
                return Err(QmpError::NotASocket { path: path.into() });
            }
            // Also said of a file that is no socket at all.
            Err(Errno::CONNREFUSED) => {
                let is_socket = path.metadata().is_ok_and(|about| about.file_type().is_socket());
                return Err(if is_socket {
                    QmpError::NobodyListens { path: path.into() }
                } else {
                    QmpError::NotASocket { path: path.into() }
                });
            }
            Err(errno) => return Err(other(errno)),
        }
    }
}

/// What is no file may be what other programs take: an option's value, a host and a port.
fn no_socket(path: &Path) -> QmpError {
    let given = path.to_string_lossy();
    let is_port =
        |port: &str| port.split(',').next().is_some_and(|port| port.parse::<u16>().is_ok());
    let is_host =
        !given.contains('/') && given.rsplit_once(':').is_some_and(|(_, port)| is_port(port));
    if is_host || given.starts_with("tcp:") || given.starts_with("telnet:") {
        return QmpError::OverTcp { given: path.into() };
    }
    match given.strip_prefix("unix:").or(given.strip_prefix("qemu:")) {
        Some(rest) if !rest.is_empty() => {
            let alone = rest.split(',').next().unwrap_or_default();
            QmpError::NotThePath { given: path.into(), path: alone.into() }
        }
        _ => QmpError::NoSocket { path: path.into() },
    }
}

fn failed(path: &Path, patience: Duration, wire: &MonitorSocket, stop: ReadStop) -> QmpError {
    let begun = wire.rest();
    let doing = || "the greeting".to_owned();
    match stop {
        ReadStop::Late if begun.is_empty() => silent::why(wire.socket(), path, patience),
        ReadStop::Closed if begun.is_empty() => QmpError::Closed { doing: doing() },
        ReadStop::Late | ReadStop::Closed => not_qmp(path, begun),
        ReadStop::TooLong => QmpError::LineTooLong { doing: doing(), limit: LONGEST_LINE },
        ReadStop::Errno(errno) => QmpError::Socket { doing: doing(), errno },
    }
}

fn not_qmp(path: &Path, line: &[u8]) -> QmpError {
    let is_monitor = line.starts_with(b"QEMU ") || line.starts_with(b"(qemu)");
    let hint = if is_monitor { ", which is QEMU's human monitor" } else { "" };
    QmpError::NotQmp { path: path.into(), began: quoted(line.trim_ascii()), hint }
}
