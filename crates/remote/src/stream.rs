//! A byte stream to a peer, in two halves and a way to end it.
//!
//! Both halves give up a wait after [`POLL_INTERVAL`] with `WouldBlock`, so that whoever waits can look at
//! the time and at a stop, and wait on.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long one wait for the peer lasts at most.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// How long the last words of a program that has ended are waited for.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Ends a stream, whoever reads or writes it.
#[derive(Clone)]
pub(crate) struct StreamCloser(Arc<dyn Fn() + Send + Sync>);

impl StreamCloser {
    pub(crate) fn new(close: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(close))
    }

    pub(crate) fn close(&self) {
        (self.0)();
    }
}

impl fmt::Debug for StreamCloser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamCloser")
    }
}

/// A byte stream to a peer.
pub struct PeerStream {
    pub(crate) read: Box<dyn Read + Send>,
    pub(crate) write: Box<dyn Write + Send>,
    pub(crate) closer: StreamCloser,
}

impl fmt::Debug for PeerStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerStream")
    }
}

impl PeerStream {
    /// Over TCP, as it is.
    pub fn tcp(socket: TcpStream) -> io::Result<Self> {
        prepare(&socket)?;
        let (write, end) = (socket.try_clone()?, socket.try_clone()?);
        Ok(Self {
            read: Box::new(socket),
            write: Box::new(write),
            // A socket that is closed already is as closed as it can be.
            closer: StreamCloser::new(move || drop(end.shutdown(Shutdown::Both))),
        })
    }

    /// Over a Unix socket.
    pub fn unix(socket: UnixStream) -> io::Result<Self> {
        socket.set_read_timeout(Some(POLL_INTERVAL))?;
        socket.set_write_timeout(Some(POLL_INTERVAL))?;
        let (write, end) = (socket.try_clone()?, socket.try_clone()?);
        Ok(Self {
            read: Box::new(socket),
            write: Box::new(write),
            closer: StreamCloser::new(move || drop(end.shutdown(Shutdown::Both))),
        })
    }

    /// Over a child process, whose standard input and output are the other end of `socket`. The
    /// child is ended with the stream.
    pub(crate) fn child(
        socket: UnixStream,
        child: Child,
        all_heard: Receiver<()>,
    ) -> io::Result<Self> {
        let mut stream = Self::unix(socket)?;
        let hangs_up = stream.closer.clone();
        let child = Mutex::new((child, all_heard));
        stream.closer = StreamCloser::new(move || {
            hangs_up.close();
            let mut held = child.lock().unwrap_or_else(PoisonError::into_inner);
            let (child, all_heard) = &mut *held;
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
            // Why it has; unless a child of its own has its standard error.
            let _ = all_heard.recv_timeout(LAST_WORDS);
        });
        Ok(stream)
    }

    /// Over this process's own standard input and output.
    pub fn stdio() -> Self {
        Self {
            read: Box::new(PolledFd(io::stdin())),
            write: Box::new(PolledFd(io::stdout())),
            // Nobody else holds them; they end with the process.
            closer: StreamCloser::new(|| ()),
        }
    }
}

/// Makes a socket tick, and send at once.
pub(crate) fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(POLL_INTERVAL))?;
    socket.set_write_timeout(Some(POLL_INTERVAL))
}

/// A pipe or terminal that ticks: poll(2) before each call.
struct PolledFd<T>(T);

/// What a pipe takes at once when poll(2) says that it is writable: PIPE_BUF.
const PIPE_BUF: usize = 4096;

fn wait(fd: &impl AsFd, flags: PollFlags) -> io::Result<()> {
    let tick = Timespec { tv_sec: 0, tv_nsec: POLL_INTERVAL.subsec_nanos().into() };
    match poll(&mut [PollFd::new(fd, flags)], Some(&tick)) {
        Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
        Ok(_) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

impl<T: AsFd + Send> Read for PolledFd<T> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        wait(&self.0, PollFlags::IN)?;
        // Not through the buffer of std's Stdin, of which poll(2) knows nothing.
        Ok(rustix::io::read(&self.0, into)?)
    }
}

impl<T: AsFd + Send> Write for PolledFd<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        wait(&self.0, PollFlags::OUT)?;
        Ok(rustix::io::write(&self.0, &bytes[..bytes.len().min(PIPE_BUF)])?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a wait just gave up for a moment.
pub(crate) fn is_tick(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}
