//! What a socket is that takes a connection and does not greet: QEMU's other sockets (a guest agent's
//! channel, a serial line) are silent, and look to a client as a monitor does that somebody else has.
//!
//! Nothing is sent to find out: it could be typed into a guest's shell. What is known comes from the
//! kernel (who listens, `SO_PEERCRED`; whether the connection was accepted, `/proc/net/unix`) and from
//! that process's command line.

use crate::QmpError;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use rustix::net::{SocketAddrUnix, getpeername};
use std::fs;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

/// Says why nothing came.
pub(crate) fn why(socket: BorrowedFd<'_>, path: &Path, patience: Duration) -> QmpError {
    let bound = bound_path(socket).unwrap_or_default();
    let words = peer(socket).map(command_line).unwrap_or_default();
    let monitor = monitor_of(&words).filter(|monitor| *monitor != bound);
    let what = match known(&words, &bound).or_else(|| named(path)) {
        Some(what) => what.to_owned(),
        None if is_accepted(&bound) => {
            "so it is no monitor (a guest agent's channel or a serial line is as silent), or QEMU hangs"
                .to_owned()
        }
        None => return QmpError::Busy { path: path.into(), patience },
    };
    let way_out = match monitor {
        Some(monitor) => format!("its QEMU's monitor is {monitor}"),
        None => "give the path of QEMU's -qmp option".to_owned(),
    };
    QmpError::Silent { path: path.into(), patience, what, way_out }
}

/// Who listens on the other end, as a person knows it: `socat (process 7)`.
pub(crate) fn listener(socket: BorrowedFd<'_>) -> Option<String> {
    let pid = peer(socket)?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(format!("{} (process {pid})", name.trim().escape_default()))
}

fn peer(socket: BorrowedFd<'_>) -> Option<i32> {
    // Not rustix's: its pid can't be 0, as it is for a process outside of our PID namespace.
    let peer = getsockopt(&socket, PeerCredentials).ok()?;
    Some(peer.pid()).filter(|pid| *pid > 0)
}

fn command_line(pid: i32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// The path to which the other end is bound, as it gave it.
fn bound_path(socket: BorrowedFd<'_>) -> Option<String> {
    let address = SocketAddrUnix::try_from(getpeername(socket).ok()??).ok()?;
    let path = address.path_bytes()?;
    let path = path.strip_suffix(b"\0").unwrap_or(path);
    String::from_utf8(path.to_vec()).ok().filter(|path| !path.is_empty())
}

const AGENT: &str = "so it is no monitor: it is a guest agent's channel";
const SERIAL: &str = "so it is no monitor: it is a serial line of the guest";

/// What QEMU's command line says of the socket.
fn known(words: &[String], bound: &str) -> Option<&'static str> {
    let is_ours = |word: &str| !bound.is_empty() && socket_of(word) == Some(bound);
    let at = words.iter().position(|word| is_ours(word))?;
    let option = words.get(at.checked_sub(1)?)?;
    let id = field(&words[at], "id=");
    let user = words.iter().find(|word| {
        id.is_some_and(|id| {
            field(word, "chardev=") == Some(id) || word.strip_prefix("chardev:") == Some(id)
        })
    });
    match (option.trim_start_matches('-'), user) {
        ("serial", _) => Some(SERIAL),
        ("chardev", Some(user)) if user.contains("guest_agent") => Some(AGENT),
        ("chardev", Some(user)) if user.starts_with("chardev:") || user.contains("serial") => {
            Some(SERIAL)
        }
        _ => None,
    }
}

/// What its name says: libvirt's `…/org.qemu.guest_agent.0`, and what people write.
fn named(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_string_lossy();
    (name.contains("guest_agent") || name.starts_with("qga")).then_some(AGENT)
}

/// The path of the first `-qmp` that is a unix socket.
fn monitor_of(words: &[String]) -> Option<&str> {
    let mut pairs = words.windows(2);
    pairs.find_map(|pair| match pair[0].trim_start_matches('-') {
        "qmp" | "qmp-pretty" => socket_of(&pair[1]),
        _ => None,
    })
}

/// The path in `unix:PATH,…` or `socket,path=PATH,…`.
fn socket_of(word: &str) -> Option<&str> {
    match word.strip_prefix("unix:") {
        Some(rest) => rest.split(',').next(),
        None => field(word, "path="),
    }
}

fn field<'w>(word: &'w str, name: &str) -> Option<&'w str> {
    word.split(',').find_map(|part| part.strip_prefix(name))
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
        let line = line.strip_suffix(bound)?.strip_suffix(' ')?;
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

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_command_line_says_what_a_socket_is() {
        let qemu = words(
            "qemu -chardev socket,path=/run/a,server=on,wait=off,id=qga0 -device virtio-serial -device \
             virtserialport,chardev=qga0,name=org.qemu.guest_agent.0 -serial unix:/run/s,server=on \
             -chardev socket,id=c1,path=/run/t,server=on -serial chardev:c1 -qmp unix:/run/q,server=on \
             -chardev socket,id=mon,path=/run/m,server=on -mon chardev=mon,mode=control",
        );
        assert_eq!(known(&qemu, "/run/a"), Some(AGENT));
        assert_eq!([known(&qemu, "/run/s"), known(&qemu, "/run/t")], [Some(SERIAL); 2]);
        for monitor in ["/run/q", "/run/m", "", "/run"] {
            assert_eq!(known(&qemu, monitor), None, "{monitor}");
        }
        assert_eq!(monitor_of(&qemu), Some("/run/q"));
        assert_eq!(named(Path::new("/x/org.qemu.guest_agent.0")), Some(AGENT));
        assert_eq!(named(Path::new("/qga/monitor")), None);
    }

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
