//! Whom to call, and how.

use crate::frames::TIMEOUT;
use crate::stream::PeerStream;
use crate::{RemoteError, TlsClient};
use memtwin_child::Spawn;
use memtwin_replicate::CancelToken;
use std::ffi::OsStr;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::sync::mpsc::{Sender, channel};
use std::thread;

/// Where a remote twin is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteTarget {
    /// `tcp://HOST:PORT`: a `memtwin receive` that listens there.
    Tcp {
        /// A name, or an address without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// `ssh://[USER@]HOST[:PORT]/PATH`: a `memtwin receive -` that ssh starts there.
    Ssh {
        /// `HOST` or `USER@HOST`.
        destination: String,
        /// Another than ssh's own.
        port: Option<u16>,
        /// The twin's file there, as an absolute path; `/~/` begins in the user's home.
        path: String,
    },
}

/// A text that is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}': expected tcp://HOST:PORT or ssh://[USER@]HOST[:PORT]/PATH")]
pub struct TargetError(String);

impl FromStr for RemoteTarget {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        Self::parse(text).ok_or_else(|| TargetError(text.to_owned()))
    }
}

impl RemoteTarget {
    fn parse(text: &str) -> Option<Self> {
        if let Some(address) = text.strip_prefix("tcp://") {
            let (host, port) = split_port(address)?;
            return Some(Self::Tcp { host: host.to_owned(), port: port? });
        }
        let (destination, path) = text.strip_prefix("ssh://")?.split_once('/')?;
        let (user, address) = match destination.rsplit_once('@') {
            Some((user, address)) => (Some(user).filter(|user| is_plain(user))?, address),
            None => ("", destination),
        };
        let (host, port) = split_port(address)?;
        if path.is_empty() || !is_plain(host) {
            return None;
        }
        let user = if user.is_empty() { String::new() } else { format!("{user}@") };
        let path = match path.strip_prefix("~/") {
            Some(in_home) => in_home.to_owned(),
            None => format!("/{path}"),
        };
        Some(Self::Ssh { destination: format!("{user}{host}"), port, path })
    }

    /// Whether every address that it may mean is this host's own.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Tcp { host, port } => (host.as_str(), *port)
                .to_socket_addrs()
                .is_ok_and(|mut found| found.all(|address| address.ip().is_loopback())),
            Self::Ssh { .. } => false,
        }
    }
}

/// Neither empty nor something that ssh would take for an option.
fn is_plain(word: &str) -> bool {
    !word.is_empty() && !word.starts_with('-') && !word.contains(char::is_whitespace)
}

/// `HOST:PORT` or `[ADDRESS]:PORT`, the port perhaps left out.
fn split_port(address: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<IpAddr>().ok()?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    let port = match port {
        Some(port) => Some(port.parse().ok()?),
        None => None,
    };
    (!host.is_empty()).then_some((host, port))
}

impl fmt::Display for RemoteTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Self::Ssh { destination, port, path } => {
                write!(f, "ssh://{destination}")?;
                if let Some(port) = port {
                    write!(f, ":{port}")?;
                }
                match path.strip_prefix('/') {
                    Some(path) => write!(f, "/{path}"),
                    None => write!(f, "/~/{path}"),
                }
            }
        }
    }
}

/// What protects a TCP connection.
#[derive(Clone, Debug)]
pub enum Security {
    /// Nothing.
    Plain,
    /// TLS 1.3, both sides with a certificate.
    Tls(TlsClient),
}

/// Calls.
pub(crate) fn dial(
    target: &RemoteTarget,
    security: &Security,
    ssh: (&OsStr, fn(&str)),
    stop: &CancelToken,
) -> Result<PeerStream, RemoteError> {
    match target {
        RemoteTarget::Tcp { host, port } => {
            let socket = connect(host, *port)
                .map_err(|cause| RemoteError::Connect { target: target.to_string(), cause })?;
            match security {
                Security::Plain => Ok(PeerStream::tcp(socket)?),
                Security::Tls(tls) => tls.connect(socket, host, TIMEOUT, stop),
            }
        }
        RemoteTarget::Ssh { destination, port, path } => by_ssh(ssh, destination, *port, path),
    }
}

fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The far side's shell sees one word, whatever the path holds.
fn quoted(path: &str) -> String {
    format!("'{}'", path.replace('\'', r"'\''"))
}

fn by_ssh(
    (ssh, said): (&OsStr, fn(&str)),
    destination: &str,
    port: Option<u16>,
    path: &str,
) -> Result<PeerStream, RemoteError> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new(ssh);
    // No password can be typed into a stream of frames; no terminal, no forwarding.
    command.args(["-T", "-x", "-o", "BatchMode=yes"]);
    if let Some(port) = port {
        command.arg("-p").arg(port.to_string());
    }
    command.arg("--").arg(destination);
    command.arg(format!("memtwin receive --quiet - {}", quoted(path)));
    let out = OwnedFd::from(theirs.try_clone()?);
    command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::from(out));
    command.stderr(Stdio::piped());
    let mut child = command.spawn_bound().map_err(|cause| RemoteError::Program {
        program: ssh.to_string_lossy().into_owned(),
        cause,
    })?;
    let (hearing, all_heard): (Sender<()>, _) = channel();
    if let Some(stderr) = child.stderr.take() {
        let listener = move || {
            hear(stderr, said);
            drop(hearing);
        };
        let listening = thread::Builder::new().name("ssh-stderr".to_owned()).spawn(listener);
        if let Err(error) = listening {
            // Nobody would read what it says, and it would wait for that.
            let _ = child.kill();
            let _ = child.wait();
            return Err(error.into());
        }
    }
    Ok(PeerStream::child(ours, child, all_heard)?)
}

/// The most bytes of a line that are heard at once.
const LINE: u64 = 4096;

/// Hears all that is said, in lines, to its end.
fn hear(from: impl Read, said: fn(&str)) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.by_ref().take(LINE).read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
        let text = String::from_utf8_lossy(&line);
        said(text.trim_end());
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_read_and_display() {
        for text in [
            "tcp://host:4321",
            "tcp://10.0.0.1:1",
            "tcp://[::1]:65535",
            "ssh://host/var/twin",
            "ssh://me@host:2222/var/a twin",
            "ssh://me@host/~/twin",
        ] {
            let target: RemoteTarget = text.parse().unwrap();
            assert_eq!(target.to_string(), text);
        }
        for bad in [
            "",
            "tcp://",
            "tcp://host",
            "tcp://host:",
            "tcp://:1",
            "tcp://host:70000",
            "tcp://::1:5",
            "tcp://[x]:1",
            "ssh://host",
            "ssh://host/",
            "ssh:///path",
            "ssh://-oProxyCommand=x/path",
            "ssh://-l@host/path",
            "udp://host:1",
        ] {
            assert!(bad.parse::<RemoteTarget>().is_err(), "{bad}");
        }
        assert!("tcp://127.0.0.1:1".parse::<RemoteTarget>().unwrap().is_loopback());
        assert!(!"tcp://192.0.2.1:1".parse::<RemoteTarget>().unwrap().is_loopback());
    }

    #[test]
    fn a_path_is_one_word_to_a_shell() {
        assert_eq!(quoted("/a b"), "'/a b'");
        assert_eq!(quoted("/a';rm x'"), r"'/a'\'';rm x'\'''");
    }
}
