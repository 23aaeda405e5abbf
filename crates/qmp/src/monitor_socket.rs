//! The socket: bytes out, messages in, nothing that blocks for longer than it is told.
//!
//! A message is a line. With `pretty=on` QEMU prints each over several lines: the first is `{` alone, the
//! last is `}` alone, and every line between them is indented (`qobject_to_json_pretty()` in
//! `qobject/qjson.c`), so both forms are told apart by their first line, wherever a reader begins.
//!
//! Our own buffer rather than `BufReader`, and flags on each call rather than on the socket: the
//! socket may be shared with a process that takes over after us, and both directions have to move
//! while either is full.

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, sendmsg};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// The most bytes that a message may have. QEMU's longest are lists of some hundred KiB.
pub(crate) const LONGEST_LINE: usize = 64 << 20;

/// How much is read at once.
const CHUNK: usize = 64 << 10;

/// Longer than anybody waits, and what the system's clocks can hold.
const FOR_EVER: Duration = Duration::from_secs(3600 * 24 * 365);

/// Why there are no more bytes.
#[derive(Debug)]
pub(crate) enum ReadStop {
    /// The time is over.
    Late,
    /// The other side is gone.
    Closed,
    /// A message has no end.
    TooLong,
    /// Something else.
    Errno(io::Error),
}

impl From<Errno> for ReadStop {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::CONNRESET | Errno::PIPE => Self::Closed,
            errno => Self::Errno(errno.into()),
        }
    }
}

/// When a wait that begins now ends.
pub(crate) fn deadline(patience: Duration) -> Instant {
    Instant::now() + patience.min(FOR_EVER)
}

/// A connection, and what was received and not yet asked for.
#[derive(Debug)]
pub(crate) struct MonitorSocket {
    socket: OwnedFd,
    held: Vec<u8>,
    /// Where in `held` the next message begins.
    begin: usize,
    /// Where the line begins that is searched for its end: after `begin` within a pretty-printed message.
    line: usize,
    /// Up to where there is no end of a line.
    searched: usize,
}

impl MonitorSocket {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket, held: Vec::new(), begin: 0, line: 0, searched: 0 }
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What was received and belongs to no whole message yet.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.held[self.begin..]
    }

    /// Takes the next message that is there whole, without the end of its last line.
    pub(crate) fn next_message(&mut self) -> Option<Vec<u8>> {
        loop {
            let Some(at) = self.held[self.searched..].iter().position(|byte| *byte == b'\n') else {
                self.searched = self.held.len();
                return None;
            };
            let end = self.searched + at;
            let line = self.held[self.line..end].trim_ascii_end();
            let is_inside = self.begin < self.line;
            let (upto, next) = match line {
                // One that begins before the last has ended: the last is handed over as it is.
                b"{" if is_inside => (self.line, self.line),
                b"}" => (end, end + 1),
                _ if is_inside || line == b"{" => {
                    self.line = end + 1;
                    self.searched = self.line;
                    continue;
                }
                _ => (end, end + 1),
            };
            let message = self.held[self.begin..upto].to_vec();
            self.begin = next;
            self.line = next;
            self.searched = next;
            return Some(message);
        }
    }

    /// Waits for the next message.
    pub(crate) fn message(&mut self, deadline: Instant) -> Result<Vec<u8>, ReadStop> {
        loop {
            if let Some(message) = self.next_message() {
                return Ok(message);
            }
            self.wait(PollFlags::IN, deadline)?;
            self.fill()?;
        }
    }

    /// Waits until one of these is possible.
    pub(crate) fn wait(&self, what: PollFlags, deadline: Instant) -> Result<PollFlags, ReadStop> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(|_| ReadStop::Late)?;
            let mut fds = [PollFd::new(&self.socket, what)];
            match poll(&mut fds, Some(&left)) {
                Ok(0) => return Err(ReadStop::Late),
                Ok(_) => return Ok(fds[0].revents()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Receives what is there; nothing if nothing is.
    pub(crate) fn fill(&mut self) -> Result<(), ReadStop> {
        if self.rest().len() > LONGEST_LINE {
            return Err(ReadStop::TooLong);
        }
        if self.begin > 0 {
            self.held.drain(..self.begin);
            self.searched -= self.begin;
            self.line -= self.begin;
            self.begin = 0;
        }
        self.held.reserve(CHUNK);
        let received = rustix::io::retry_on_intr(|| {
            recv(&self.socket, spare_capacity(&mut self.held), RecvFlags::DONTWAIT)
        });
        match received {
            Ok((0, _)) => Err(ReadStop::Closed),
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Sends as many bytes as there is room for, perhaps none; with the first of them, `fd`.
    pub(crate) fn send_some(
        &self,
        bytes: &[u8],
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<usize, ReadStop> {
        let fds: Vec<_> = fd.into_iter().collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !rights.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(ReadStop::Errno(io::ErrorKind::InvalidInput.into()));
        }
        // A peer that is gone is an error, not a signal.
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let sent = rustix::io::retry_on_intr(|| {
            sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut rights, flags)
        });
        match sent {
            Err(Errno::AGAIN) => Ok(0),
            sent => Ok(sent?),
        }
    }
}
