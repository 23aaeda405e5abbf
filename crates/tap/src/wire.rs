//! The tap's end of the migration's socket: a stream of bytes that is read in large pieces, and a
//! few bytes that go back.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, recv, send, shutdown,
    socketpair,
};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// How many bytes are read at once: what was read stays in a core's second-level cache until it is
/// in the twin.
const PIECE: usize = 256 << 10;

/// How many bytes QEMU may send before it waits for us. With the usual 200 KiB the two wake each
/// other so often that a first pass takes a tenth longer.
const ON_THE_WAY: usize = 2 << 20;

/// What reading came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    /// So many bytes, in [`Wire::bytes`].
    Bytes(usize),
    /// None in time.
    Nothing,
    /// The other end is closed.
    End,
}

/// Our end.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: OwnedFd,
    buffer: Box<[u8]>,
}

impl Wire {
    /// A pair of sockets: our end, and the one for QEMU.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // As much as the system allows (net.core.wmem_max), if that is less.
        set_socket_send_buffer_size(&theirs, ON_THE_WAY)?;
        Ok((Self { socket: ours, buffer: vec![0; PIECE].into() }, theirs))
    }

    /// Our end, for who is to have a copy of it.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads what is there, after having waited for something for so long at most.
    pub(crate) fn read(&mut self, patience: Duration) -> io::Result<Got> {
        match recv(self.socket.as_fd(), &mut self.buffer[..], RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return Ok(Got::End),
            Ok((_, bytes)) => return Ok(Got::Bytes(bytes)),
            Err(Errno::AGAIN | Errno::INTR) if patience.is_zero() => return Ok(Got::Nothing),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // As a source that was killed leaves it.
            Err(Errno::CONNRESET) => return Ok(Got::End),
            Err(errno) => return Err(errno.into()),
        }
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        let patience =
            Timespec::try_from(patience).unwrap_or(Timespec { tv_sec: 3600, tv_nsec: 0 });
        match poll(&mut fds, Some(&patience)) {
            Ok(0) | Err(Errno::INTR) => Ok(Got::Nothing),
            Ok(_) => self.read(Duration::ZERO),
            Err(errno) => Err(errno.into()),
        }
    }

    /// How many bytes there are to be read.
    pub(crate) fn waiting(&self) -> io::Result<u64> {
        Ok(rustix::io::ioctl_fionread(&self.socket)?)
    }

    /// The bytes that were read last.
    pub(crate) fn bytes(&self, count: usize) -> &[u8] {
        &self.buffer[..count]
    }

    /// Ends it in both directions. Whoever waits for room to write in it waits no longer.
    pub(crate) fn shut(&self) {
        // Fails only if it has ended already.
        let _ = shutdown(&self.socket, Shutdown::Both);
    }

    /// Sends a message back. They are a few bytes each, so there is always room.
    pub(crate) fn send(&self, message: &[u8]) -> io::Result<()> {
        match send(self.socket.as_fd(), message, SendFlags::NOSIGNAL)? {
            sent if sent == message.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }
}
