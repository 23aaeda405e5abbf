//! A byte stream to a unix socket on another machine: `memtwin relay` there, a socket pair here.

use super::HostError;
use memtwin_child::Spawn;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What a relay says first, once it is connected.
pub const RELAY: &str = "memtwin relay\n";

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(60);
/// How long a relay goes on when one side has ended and the other is silent.
const LINGER: Duration = Duration::from_secs(10);
/// How often it is seen whether anyone still listens.
const POLL_INTERVAL: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// The stream that a relay, started by `command`, carries to a socket.
pub(super) fn through(
    host: &str,
    socket: &str,
    mut command: Command,
) -> Result<UnixStream, HostError> {
    let failed =
        |why: String| HostError::Connect { host: host.to_owned(), socket: socket.to_owned(), why };
    let (ours, theirs) = UnixStream::pair().map_err(|error| failed(error.to_string()))?;
    let theirs_too = theirs.try_clone().map_err(|error| failed(error.to_string()))?;
    let program = command.get_program().display().to_string();
    let child = command
        .stdin(OwnedFd::from(theirs))
        .stdout(OwnedFd::from(theirs_too))
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn_on_stdin()
        .map_err(|error| HostError::Start { host: host.to_owned(), program, error })?;
    // Our copies of its ends would keep the stream open.
    drop(command);
    match greeted(&ours) {
        Ok(true) => {
            reap(child);
            Ok(ours)
        }
        said => {
            drop(ours);
            let why = complaint(child);
            Err(failed(match said {
                Err(error) if why.is_empty() => error.to_string(),
                _ if why.is_empty() => "the relay says nothing that is expected".to_owned(),
                _ => why,
            }))
        }
    }
}

/// Whether the other end says that it is connected.
fn greeted(stream: &UnixStream) -> io::Result<bool> {
    stream.set_read_timeout(Some(CONNECT))?;
    let mut said = [0; RELAY.len()];
    let greeted = (&mut &*stream).read_exact(&mut said).map(|()| said == *RELAY.as_bytes());
    stream.set_read_timeout(None)?;
    greeted
}

/// Waits for it from a thread: it ends once the stream does.
fn reap(mut child: Child) {
    thread::spawn(move || {
        if let Some(mut errors) = child.stderr.take() {
            let _ = io::copy(&mut errors, &mut io::sink());
        }
        let _ = child.wait();
    });
}

/// What it complained of.
fn complaint(mut child: Child) -> String {
    let _ = child.kill();
    let mut said = String::new();
    if let Some(errors) = child.stderr.take() {
        let _ = errors.take(4096).read_to_string(&mut said);
    }
    let _ = child.wait();
    said.trim().replace('\n', "; ")
}

/// `memtwin relay`: carries standard input to a socket, and what comes from there to standard output.
/// It ends when the socket does, when nobody takes what it says any more, and a few seconds after
/// standard input has ended.
///
/// Errors: nobody listens there.
pub fn relay(socket: &Path) -> io::Result<()> {
    let stream = UnixStream::connect(socket)?;
    let mut stdout = io::stdout().lock();
    stdout.write_all(RELAY.as_bytes())?;
    stdout.flush()?;
    let ended = std::sync::Arc::new(AtomicBool::new(false));
    let (mut to, over) = (stream.try_clone()?, std::sync::Arc::clone(&ended));
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut to);
        let _ = to.shutdown(Shutdown::Write);
        over.store(true, Ordering::Release);
    });
    let mut chunk = vec![0; 1 << 16];
    // Since when the socket has been silent.
    let mut silent = Instant::now();
    let mut half = false;
    loop {
        let mut ends = [
            PollFd::new(&stream, PollFlags::IN),
            // Nothing is asked of it but whether its reader is gone.
            PollFd::from_borrowed_fd(rustix::stdio::stdout(), PollFlags::empty()),
        ];
        match poll(&mut ends, Some(&POLL_INTERVAL)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        let [from, to] = ends;
        if !from.revents().is_empty() {
            let read = (&stream).read(&mut chunk).unwrap_or(0);
            let said = stdout.write_all(&chunk[..read]).and_then(|()| stdout.flush());
            if read == 0 || said.is_err() {
                return Ok(());
            }
            silent = Instant::now();
        } else if to.revents().intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
            return Ok(());
        }
        if ended.load(Ordering::Acquire) {
            if !std::mem::replace(&mut half, true) {
                silent = Instant::now();
            }
            if silent.elapsed() >= LINGER {
                return Ok(());
            }
        }
    }
}
