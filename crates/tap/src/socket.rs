//! Our end of the migration's socket: bytes come in, a few go back, and its end says whose the
//! migration is.
//!
//! A migration is ours while QEMU holds the other end. Ending it is done by this socket alone
//! ([`StreamSocket::end`]): QEMU then fails the migration that writes to it, and can't mistake it for
//! another one, as it could with `migrate_cancel`. When QEMU has closed its end, or shut it
//! ([`StreamSocket::closed_by_qemu`]), our migration is at its end.

use memtwin_stream::return_path;
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, recv, send, shutdown,
    socketpair,
};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How many bytes QEMU may send before it waits to be read. With the usual 200 KiB the two wake each
/// other this often that a first pass takes a tenth longer.
const SEND_BUFFER: usize = 2 << 20;

/// Our end of the connection. Clones are the same end.
#[derive(Clone, Debug)]
pub(crate) struct StreamSocket(Arc<StreamEnd>);

#[derive(Debug)]
struct StreamEnd {
    first: OwnedFd,
    /// What takes its place, where QEMU connects by itself.
    connected: OnceLock<OwnedFd>,
}

impl StreamSocket {
    /// A pair of sockets: our end, and the one for QEMU.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // As much as the system allows (net.core.wmem_max), if that is less.
        set_socket_send_buffer_size(&theirs, SEND_BUFFER)?;
        Ok((Self::over(ours), theirs))
    }

    /// One to which QEMU has not connected yet: until then it is as one that QEMU has closed.
    pub(crate) fn awaited() -> io::Result<Self> {
        Ok(Self::pair()?.0)
    }

    /// Our end, from who had it before us.
    pub(crate) fn over(socket: OwnedFd) -> Self {
        Self(Arc::new(StreamEnd { first: socket, connected: OnceLock::new() }))
    }

    /// QEMU has connected to one that was [awaited](StreamSocket::awaited): of every clone. A second
    /// connection is not taken.
    pub(crate) fn connect(&self, stream: OwnedFd) {
        // QEMU connects once.
        let _ = self.0.connected.set(stream);
    }

    /// Waits until there is something to read, or the end, for this long at most.
    pub(crate) fn wait_readable(&self, timeout: Duration) -> io::Result<()> {
        self.poll(PollFlags::IN, timeout).map(|_| ())
    }

    /// Reads what is there, without waiting, into the room that a vector has left. 0 is the end. `None`:
    /// nothing is there now.
    pub(crate) fn receive(&self, into: &mut Vec<u8>) -> io::Result<Option<usize>> {
        match recv(self.as_fd(), spare_capacity(into), RecvFlags::DONTWAIT) {
            Ok((bytes, _)) => Ok(Some(bytes)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            // As a source that was killed leaves it.
            Err(Errno::CONNRESET) => Ok(Some(0)),
            Err(errno) => Err(errno.into()),
        }
    }

    /// How many bytes there are to be read.
    pub(crate) fn readable(&self) -> io::Result<u64> {
        Ok(rustix::io::ioctl_fionread(self.as_fd())?)
    }

    /// Sends a message back. They are a few bytes each, so there is always room.
    pub(crate) fn send(&self, message: &[u8]) -> io::Result<()> {
        match send(self.as_fd(), message, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)? {
            sent if sent == message.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    /// Ends the migration that writes to the other end, and no other: whoever waits for room in it
    /// fails, and who waits for our word hears that we failed. QEMU lets the guest run, if it did.
    pub(crate) fn end(&self) {
        // Each fails only if QEMU has closed its end already.
        let _ = self.send(&return_path::shut(return_path::LoadOutcome::Failed));
        let _ = shutdown(self.as_fd(), Shutdown::Read);
    }

    /// Waits until QEMU has closed its end, for this long at most. Whether it has: then there is no
    /// migration of ours any more.
    pub(crate) fn closed_by_qemu(&self, timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.poll(PollFlags::empty(), left) {
                Ok(seen) if seen.intersects(PollFlags::HUP | PollFlags::ERR) => return true,
                _ if left.is_zero() => return false,
                _ => {}
            }
        }
    }

    fn poll(&self, wanted: PollFlags, timeout: Duration) -> io::Result<PollFlags> {
        let end = self.as_fd();
        let mut fds = [PollFd::new(&end, wanted)];
        let hour = Timespec { tv_sec: 3600, tv_nsec: 0 };
        let timeout = Timespec::try_from(timeout).unwrap_or(hour);
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) => Ok(fds[0].revents()),
            Err(Errno::INTR) => Ok(PollFlags::empty()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for StreamSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.connected.get().unwrap_or(&self.0.first).as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn one_that_is_awaited_is_as_closed_until_it_is_connected() {
        let awaited = StreamSocket::awaited().unwrap();
        let clone = awaited.clone();
        assert!(clone.closed_by_qemu(Duration::ZERO));
        let (ours, theirs) = UnixStream::pair().unwrap();
        awaited.connect(ours.into());
        assert!(!clone.closed_by_qemu(Duration::ZERO));
        drop(theirs);
        assert!(clone.closed_by_qemu(Duration::from_secs(60)));
    }

    #[test]
    fn ending_it_fails_the_writer_and_says_so_but_is_no_end_of_theirs() {
        let (ours, theirs) = StreamSocket::pair().unwrap();
        let mut theirs = UnixStream::from(theirs);
        assert!(!ours.closed_by_qemu(Duration::ZERO));
        ours.end();
        assert!(!ours.closed_by_qemu(Duration::ZERO), "they have not closed it");
        let error = theirs.write_all(&[0; 16]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        let mut said = [0; 8];
        theirs.read_exact(&mut said).unwrap();
        assert_eq!(said, [0, 1, 0, 4, 0, 0, 0, 1]);
        drop(theirs);
        assert!(ours.closed_by_qemu(Duration::from_secs(60)));
    }
}
