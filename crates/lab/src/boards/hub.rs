//! The network that boards share: a switch for QEMU's stream sockets (`-netdev stream`: each frame
//! with its length before it, 32 bits big-endian; net/stream.c). It needs no root, no board is special,
//! and a link can be cut.

use super::LabError;
use memtwin_safe_path::is_from_us;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The longest frame that QEMU sends (NET_BUFSIZE).
const LONGEST: usize = 4096 + 65536;
/// How many frames wait for a board that does not read.
const QUEUE: usize = 512;
/// How long a sender is held up for one before its frame is dropped.
const HOLD: u32 = 50;
const POLL_INTERVAL: Duration = Duration::from_millis(1);

type Mac = [u8; 6];
type Frame = Arc<Vec<u8>>;

#[derive(Debug, Default)]
struct SharedHub {
    ports: Mutex<Vec<Arc<Line>>>,
    /// Which port an address was last seen at.
    seen: Mutex<HashMap<Mac, usize>>,
    over: AtomicBool,
}

#[derive(Debug)]
struct Line {
    name: String,
    index: usize,
    cut: AtomicBool,
    dropped: AtomicU64,
    passed: AtomicU64,
    /// Who is connected: what to shut down, and where its frames go.
    peer: Mutex<Option<(UnixStream, SyncSender<Frame>)>>,
    /// What to wake when it is over.
    path: std::path::PathBuf,
}

/// The switch. It ends when this is dropped.
#[derive(Debug)]
pub struct Hub(Arc<SharedHub>);

/// A board's place at it.
#[derive(Clone, Debug)]
pub struct Port(Arc<Line>);

impl Hub {
    /// A switch without ports.
    pub(super) fn start() -> Result<Self, LabError> {
        Ok(Self(Arc::default()))
    }

    /// A new port, to which a QEMU connects by a socket. One that has gone may come again.
    pub(super) fn port(&self, name: &str, socket: &Path) -> Result<Port, LabError> {
        let listener = UnixListener::bind(socket).map_err(LabError::file(socket))?;
        let mut ports = locked(&self.0.ports);
        let line = Arc::new(Line {
            name: name.to_owned(),
            index: ports.len(),
            cut: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            passed: AtomicU64::new(0),
            peer: Mutex::new(None),
            path: socket.to_owned(),
        });
        ports.push(Arc::clone(&line));
        drop(ports);
        let (shared, own) = (Arc::clone(&self.0), Arc::clone(&line));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.over.load(Ordering::Acquire) {
                    return;
                }
                if let Ok(stream) = stream
                    && is_from_us(&stream)
                {
                    serve(&shared, &own, stream);
                }
            }
        });
        Ok(Port(line))
    }

    /// The first port of a board.
    pub fn of(&self, name: &str) -> Option<Port> {
        locked(&self.0.ports).iter().find(|line| line.name == name).cloned().map(Port)
    }
}

impl Port {
    /// The MAC address of the card that is to be connected.
    pub fn mac(&self) -> String {
        format!("52:54:00:6d:74:{:02x}", self.0.index & 0xff)
    }

    /// Pulls the cable, or puts it back.
    pub fn cut(&self, cut: bool) {
        self.0.cut.store(cut, Ordering::Release);
    }

    /// How many frames went to it, and how many were dropped because it did not read.
    pub fn counted(&self) -> (u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.0.passed), count(&self.0.dropped))
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Release);
        for line in locked(&self.0.ports).iter() {
            if let Some((stream, _)) = locked(&line.peer).take() {
                let _ = stream.shutdown(Shutdown::Both);
            }
            // Wakes who waits for a connection.
            let _ = UnixStream::connect(&line.path);
        }
    }
}

/// Reads a port's frames until it goes, and passes them on.
fn serve(shared: &Arc<SharedHub>, line: &Arc<Line>, stream: UnixStream) {
    let (Ok(output), Ok(peer)) = (stream.try_clone(), stream.try_clone()) else { return };
    let (sender, frames) = mpsc::sync_channel(QUEUE);
    *locked(&line.peer) = Some((peer, sender));
    let writer = thread::spawn(move || write(output, &frames));
    let mut stream = io::BufReader::with_capacity(1 << 17, stream);
    while let Ok(frame) = read(&mut stream) {
        if !line.cut.load(Ordering::Acquire) {
            pass(shared, line.index, &Arc::new(frame));
        }
        if shared.over.load(Ordering::Acquire) {
            break;
        }
    }
    if let Some((stream, _)) = locked(&line.peer).take() {
        let _ = stream.shutdown(Shutdown::Both);
    }
    let _ = writer.join();
}

/// A frame with its length before it.
fn read(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let bytes = u32::from_be_bytes(length) as usize;
    if bytes > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut frame = vec![0; 4 + bytes];
    frame[..4].copy_from_slice(&length);
    stream.read_exact(&mut frame[4..])?;
    Ok(frame)
}

fn write(mut stream: UnixStream, frames: &Receiver<Frame>) {
    while let Ok(frame) = frames.recv() {
        if stream.write_all(&frame).is_err() {
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
    }
}

/// To where its address was seen; to all others if that is nowhere, or for all.
fn pass(shared: &SharedHub, from: usize, frame: &Frame) {
    let mac = |at: usize| frame.get(4 + at..10 + at).and_then(|mac| Mac::try_from(mac).ok());
    let (Some(to), Some(by)) = (mac(0), mac(6)) else { return };
    let known = {
        let mut seen = locked(&shared.seen);
        if by[0] & 1 == 0 {
            seen.insert(by, from);
        }
        if to[0] & 1 == 0 { seen.get(&to).copied() } else { None }
    };
    let ports: Vec<Arc<Line>> = locked(&shared.ports).clone();
    for line in ports {
        let wanted = known.is_none_or(|known| known == line.index);
        if wanted && line.index != from && !line.cut.load(Ordering::Acquire) {
            deliver(&line, frame);
        }
    }
}

/// Holds the sender up for a while if a board does not read: it is slow, not gone.
fn deliver(line: &Line, frame: &Frame) {
    let sender = locked(&line.peer).as_ref().map(|(_, sender)| sender.clone());
    let Some(sender) = sender else { return };
    let mut frame = Arc::clone(frame);
    for _ in 0..HOLD {
        match sender.try_send(frame) {
            Ok(()) => {
                line.passed.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Err(TrySendError::Disconnected(_)) => return,
            Err(TrySendError::Full(back)) => frame = back,
        }
        thread::sleep(POLL_INTERVAL);
    }
    line.dropped.fetch_add(1, Ordering::Relaxed);
}

/// What a thread that panicked has left is whole: each is changed in one step.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(to: u8, by: u8, text: &str) -> Vec<u8> {
        let mut frame = (12 + text.len() as u32).to_be_bytes().to_vec();
        // 0xff for all, else an address of one board.
        let mac = |last: u8| if last == 0xff { [0xff; 6] } else { [2, 0, 0, 0, 0, last] };
        frame.extend(mac(to).into_iter().chain(mac(by)).chain(text.bytes()));
        frame
    }

    struct Board(UnixStream);

    impl Board {
        fn send(&mut self, frame: &[u8]) {
            self.0.write_all(frame).unwrap();
        }

        /// What comes next, and nothing after it.
        fn hears(&mut self, text: &str) {
            self.0.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let frame = read(&mut self.0).unwrap();
            assert_eq!(String::from_utf8_lossy(&frame[16..]), text);
        }
    }

    #[test]
    fn frames_go_where_they_should_and_a_link_can_be_cut() {
        let place = tempfile::tempdir().unwrap();
        let hub = Hub::start().unwrap();
        let mut boards: Vec<Board> = ["a", "b", "c"]
            .into_iter()
            .map(|name| {
                let socket = place.path().join(name);
                hub.port(name, &socket).unwrap();
                let stream = UnixStream::connect(&socket).unwrap();
                while locked(&hub.of(name).unwrap().0.peer).is_none() {
                    thread::sleep(POLL_INTERVAL);
                }
                Board(stream)
            })
            .collect();
        let [a, b, c] = &mut boards[..] else { panic!("three") };
        a.send(&frame(0xff, 1, "who is 2?"));
        b.hears("who is 2?");
        c.hears("who is 2?");
        b.send(&frame(1, 2, "I am"));
        a.hears("I am");
        a.send(&frame(2, 1, "for 2 alone"));
        b.hears("for 2 alone");
        // What C hears next shows that it heard none of that.
        a.send(&frame(0xff, 1, "all"));
        c.hears("all");
        b.hears("all");
        hub.of("b").unwrap().cut(true);
        a.send(&frame(0xff, 1, "unheard"));
        c.hears("unheard");
        hub.of("b").unwrap().cut(false);
        a.send(&frame(0xff, 1, "again"));
        b.hears("again");
        assert_eq!(hub.of("b").unwrap().counted().1, 0);
        drop(hub);
        assert!(read(&mut a.0).is_err(), "it is over");
    }

    #[test]
    fn a_frame_that_is_too_long_ends_the_link() {
        let long = (LONGEST as u32 + 1).to_be_bytes();
        assert!(read(&mut &long[..]).is_err());
    }
}
