//! Who is at the other end of a local socket: `SO_PEERCRED` in unix(7).

use crate::{SafePathError, User};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Who listened at, or connected to, a local socket when the connection was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketPeer {
    /// The user.
    pub user: User,
    /// The process; `None` if it is of another PID namespace.
    pub pid: Option<u32>,
}

impl SocketPeer {
    /// Who is at the other end of a connected socket.
    ///
    /// Errors: the system does not say.
    pub fn of(socket: impl AsFd) -> std::io::Result<Self> {
        let found = getsockopt(&socket, PeerCredentials)?;
        // 0: a process that has no number here.
        let pid = u32::try_from(found.pid()).ok().filter(|&pid| pid != 0);
        Ok(Self { user: User::new(found.uid()), pid })
    }
}

/// Who is at the other end, if it is us or root. `path` is the socket's, for messages.
///
/// Errors: it is somebody else.
pub fn check_peer(socket: impl AsFd, path: &Path) -> Result<SocketPeer, SafePathError> {
    let peer = SocketPeer::of(socket)
        .map_err(|errno| SafePathError::io("ask who is at the other end of", path, errno))?;
    if peer.user.is_ours() {
        Ok(peer)
    } else {
        Err(SafePathError::Peer { path: path.to_owned(), owner: peer.user })
    }
}

/// Whether somebody who has connected to a socket of ours is us or root.
pub fn is_from_us(socket: impl AsFd) -> bool {
    SocketPeer::of(socket).is_ok_and(|peer| peer.user.is_ours())
}

/// Connects to a socket at which only we or root may listen.
///
/// Errors: nobody listens, or somebody else does.
pub fn connect(path: &Path) -> Result<UnixStream, SafePathError> {
    let stream =
        UnixStream::connect(path).map_err(|errno| SafePathError::io("connect to", path, errno))?;
    check_peer(&stream, path)?;
    Ok(stream)
}
