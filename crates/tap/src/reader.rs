//! Reads QEMU's stream by a thread of its own, at all times: QEMU never waits for us.
//!
//! While QEMU's migration thread waits for room in the socket it holds locks that others wait for: the
//! big lock in its last pass, RCU before it (a `device_add` that is refused waits for RCU, and its
//! monitor with it). So the thread reads whatever else we do: while a command of ours is pending, while a
//! twin's disk is slow. What was not taken yet lies in a queue. A full queue makes QEMU wait, but only
//! as long as something is taken from it: when nothing is taken for [`stall_timeout`], the stream is
//! ended, and the guest runs on without us.

use crate::socket::StreamSocket;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How many bytes are read at once: what was read stays in a core's second-level cache until it is
/// in the twin.
const PIECE_BYTES: usize = 256 << 10;

/// How many bytes may wait in the queue.
const QUEUE_BYTES: u64 = 64 << 20;

/// How many buffers are kept to be used again.
const SPARE_PIECES: usize = 8;

/// How long nothing may be taken from a full queue, if no longer pause is allowed. Under a second: that
/// is what another client of QEMU's may have to wait.
const STALL_TIMEOUT: Duration = Duration::from_millis(700);

/// How often the thread looks whether it is still wanted.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How long nothing may be taken from a full queue before the stream is ended. Where the guest may stand
/// still for longer than that, QEMU's other clients may wait as long.
pub(crate) fn stall_timeout(max_pause: Duration) -> Duration {
    max_pause.max(STALL_TIMEOUT)
}

/// What reading came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadResult {
    /// There are more bytes in [`StreamReader::bytes`].
    Bytes,
    /// None in time.
    Nothing,
    /// There will be no more; [`StreamReader::why_ended`] says why.
    End,
}

/// Why there is no more stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EndReason {
    /// QEMU has ended it, or we have.
    Closed,
    /// Nobody took from the full queue, so it was ended.
    Stalled,
    /// The socket failed.
    Failed(String),
}

/// The thread, and the piece of the stream that was taken last.
#[derive(Debug)]
pub(crate) struct StreamReader {
    socket: StreamSocket,
    shared: Arc<SharedQueue>,
    thread: Option<JoinHandle<()>>,
    piece: Vec<u8>,
}

#[derive(Debug, Default)]
struct SharedQueue {
    queue: Mutex<StreamQueue>,
    /// Held while bytes go from the socket to the queue; taken before `queue`.
    receiving: Mutex<()>,
    arrived: Condvar,
    taken: Condvar,
    stall_timeout: Duration,
}

#[derive(Debug, Default)]
struct StreamQueue {
    pieces: VecDeque<Vec<u8>>,
    bytes: u64,
    spare: Vec<Vec<u8>>,
    /// How many pieces were taken in all.
    taken: u64,
    end: Option<EndReason>,
    unwanted: bool,
}

impl StreamReader {
    /// Begins to read. The stream is ended when its queue is full and nothing is taken for
    /// `stall_timeout`.
    ///
    /// Errors: no thread can be started.
    pub(crate) fn start(socket: StreamSocket, stall_timeout: Duration) -> io::Result<Self> {
        let shared = Arc::new(SharedQueue { stall_timeout, ..SharedQueue::default() });
        let (theirs, from) = (Arc::clone(&shared), socket.clone());
        let thread = thread::Builder::new()
            .name("qemu-stream".to_owned())
            .spawn(move || theirs.read_to_end(&from))?;
        Ok(Self { socket, shared, thread: Some(thread), piece: Vec::new() })
    }

    /// Our end of the stream.
    pub(crate) fn socket(&self) -> &StreamSocket {
        &self.socket
    }

    /// Takes the next piece, after having waited for one for this long at most.
    pub(crate) fn read(&mut self, timeout: Duration) -> ReadResult {
        let until = Instant::now() + timeout;
        let mut queue = self.shared.lock();
        loop {
            if let Some(piece) = queue.take() {
                let used = std::mem::replace(&mut self.piece, piece);
                queue.keep_spare(used);
                self.shared.taken.notify_all();
                return ReadResult::Bytes;
            }
            if queue.end.is_some() {
                return ReadResult::End;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return ReadResult::Nothing;
            }
            let waited = self.shared.arrived.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The piece that was taken last.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.piece
    }

    /// Puts what follows the first `used` bytes of this piece back, to be taken next.
    pub(crate) fn put_back(&mut self, used: usize) {
        let rest = self.piece.split_off(used);
        if !rest.is_empty() {
            let mut queue = self.shared.lock();
            queue.bytes += rest.len() as u64;
            queue.pieces.push_front(rest);
        }
    }

    /// How many bytes have come and were not taken yet: all that QEMU had sent when this was asked.
    ///
    /// Errors: the system does not say.
    pub(crate) fn unread(&self) -> io::Result<u64> {
        // Under this lock nothing is on its way between the two.
        let _still = self.shared.receiving.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = self.shared.lock();
        Ok(queue.bytes + self.socket.readable()?)
    }

    /// Why there is no more stream; `None` while there is.
    pub(crate) fn why_ended(&self) -> Option<EndReason> {
        self.shared.lock().end.clone()
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        self.shared.lock().unwanted = true;
        self.shared.taken.notify_all();
        self.socket.end();
        if let Some(thread) = self.thread.take() {
            // A panic of it has ended it as well.
            let _ = thread.join();
        }
    }
}

impl StreamQueue {
    fn take(&mut self) -> Option<Vec<u8>> {
        let piece = self.pieces.pop_front()?;
        self.bytes -= piece.len() as u64;
        self.taken += 1;
        Some(piece)
    }

    fn keep_spare(&mut self, piece: Vec<u8>) {
        if self.spare.len() < SPARE_PIECES && piece.capacity() >= PIECE_BYTES {
            self.spare.push(piece);
        }
    }
}

impl SharedQueue {
    fn lock(&self) -> MutexGuard<'_, StreamQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_to_end(&self, socket: &StreamSocket) {
        let end = loop {
            match self.read_one(socket) {
                Ok(None) => {}
                Ok(Some(end)) => break end,
                Err(errno) => break EndReason::Failed(errno.to_string()),
            }
        };
        let mut queue = self.lock();
        queue.end = Some(end);
        drop(queue);
        self.arrived.notify_all();
    }

    fn read_one(&self, socket: &StreamSocket) -> io::Result<Option<EndReason>> {
        socket.wait_readable(POLL_INTERVAL)?;
        let mut piece = {
            let mut queue = self.lock();
            if queue.unwanted {
                return Ok(Some(EndReason::Closed));
            }
            queue.spare.pop().unwrap_or_else(|| Vec::with_capacity(PIECE_BYTES))
        };
        piece.clear();
        // Whoever takes from the queue meanwhile is not held up.
        let receiving = self.receiving.lock().unwrap_or_else(PoisonError::into_inner);
        let received = socket.receive(&mut piece)?;
        let mut queue = self.lock();
        match received {
            None => {
                queue.keep_spare(piece);
                return Ok(None);
            }
            Some(0) => return Ok(Some(EndReason::Closed)),
            Some(_) => {}
        }
        queue.bytes += piece.len() as u64;
        queue.pieces.push_back(piece);
        drop(receiving);
        self.arrived.notify_all();
        if self.has_room(queue) {
            return Ok(None);
        }
        socket.end();
        Ok(Some(EndReason::Stalled))
    }

    /// Waits until there is room in the queue. False: nothing was taken for too long.
    fn has_room(&self, mut queue: MutexGuard<'_, StreamQueue>) -> bool {
        let mut taken = queue.taken;
        let mut since = Instant::now();
        while queue.bytes > QUEUE_BYTES && !queue.unwanted {
            let waited = self.taken.wait_timeout(queue, self.stall_timeout);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            if queue.taken != taken {
                (taken, since) = (queue.taken, Instant::now());
            } else if since.elapsed() >= self.stall_timeout {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    const TIMEOUT: Duration = Duration::from_secs(60);

    fn reading() -> (StreamReader, UnixStream) {
        let (ours, theirs) = StreamSocket::pair().unwrap();
        let stall_timeout = stall_timeout(Duration::from_millis(250));
        (StreamReader::start(ours, stall_timeout).unwrap(), UnixStream::from(theirs))
    }

    #[test]
    fn all_comes_in_order_and_what_is_put_back_comes_again() {
        let (mut reader, mut theirs) = reading();
        assert_eq!(reader.read(Duration::ZERO), ReadResult::Nothing);
        theirs.write_all(b"one two").unwrap();
        assert_eq!(reader.read(TIMEOUT), ReadResult::Bytes);
        assert_eq!(reader.bytes(), b"one two");
        reader.put_back(4);
        assert_eq!(reader.unread().unwrap(), 3);
        assert_eq!((reader.read(TIMEOUT), reader.bytes()), (ReadResult::Bytes, &b"two"[..]));
        drop(theirs);
        assert_eq!(reader.read(TIMEOUT), ReadResult::End);
        assert_eq!(reader.why_ended(), Some(EndReason::Closed));
    }

    /// The kind of a monitor that hangs: whoever writes does not wait, though nobody takes.
    #[test]
    fn who_writes_never_waits_for_who_takes() {
        let (mut reader, mut theirs) = reading();
        let half = QUEUE_BYTES as usize / 2;
        theirs.write_all(&vec![7; half]).unwrap();
        let mut left = half;
        while left > 0 {
            assert_eq!(reader.read(TIMEOUT), ReadResult::Bytes);
            left -= reader.bytes().len();
        }
        // The control: far more than the queue holds ends it, and fails the writer at once.
        let error = theirs.write_all(&vec![7; QUEUE_BYTES as usize * 2]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        while reader.read(TIMEOUT) != ReadResult::End {}
        assert_eq!(reader.why_ended(), Some(EndReason::Stalled));
    }

    #[test]
    fn others_wait_as_long_as_the_guest_may_stand_still() {
        assert_eq!(stall_timeout(Duration::from_millis(250)), STALL_TIMEOUT);
        assert_eq!(stall_timeout(Duration::from_secs(60)), Duration::from_secs(60));
    }

    #[test]
    fn a_slow_taker_makes_it_wait_and_loses_nothing() {
        let (mut reader, mut theirs) = reading();
        let bytes = QUEUE_BYTES as usize + (16 << 20);
        let writer = thread::spawn(move || theirs.write_all(&vec![7; bytes]));
        let mut left = bytes;
        while left > 0 {
            assert_eq!(reader.read(TIMEOUT), ReadResult::Bytes);
            left -= reader.bytes().len();
        }
        writer.join().unwrap().unwrap();
        assert_eq!(reader.read(TIMEOUT), ReadResult::End);
    }
}
