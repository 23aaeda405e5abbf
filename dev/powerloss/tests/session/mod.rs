//! A session whose receiver is recorded, and what was there before.

use crate::common::{on_disk, recorded};
use crate::toy::{Receiving, Toy, receiver_config, sender_config};
use memtwin_powerloss::Recording;
use memtwin_remote::{Compression, RemoteTwin, SenderConfig};
use memtwin_replicate::{CancelToken, Replication};
use memtwin_wire::{CompressionMethod, FrameKind, TwinVerdict};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Names the receiver's port; set only in the program that is recorded.
pub(crate) const PORT: &str = "MEMTWIN_POWERLOSS_PORT";
pub(crate) const OLD: [u8; 8192] = [0x01; 8192];
const REGIONS: [(u64, u64); 2] = [(5, 4096), (9, 512)];
const ROUNDS: usize = 20;

/// Passes connections on until it is told to stop. Each of the first ones breaks in the middle of a
/// round: after this many rounds, when the next one's first frame has gone through.
fn proxy(listener: &TcpListener, to: SocketAddr, breaks: &[usize], over: &AtomicBool) {
    listener.set_nonblocking(true).unwrap();
    let mut breaks = breaks.iter().copied();
    while !over.load(Ordering::SeqCst) {
        let (Ok((sender, _)), Ok(receiver)) = (listener.accept(), TcpStream::connect(to)) else {
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        sender.set_nonblocking(false).unwrap();
        let (mut from, mut into) = (receiver.try_clone().unwrap(), sender.try_clone().unwrap());
        let back = thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut into);
        });
        // An error is the end of a connection, whichever side's.
        let _ = forward(&sender, &receiver, breaks.next());
        let _ = sender.shutdown(Shutdown::Both);
        let _ = receiver.shutdown(Shutdown::Both);
        back.join().unwrap();
    }
}

/// Forwards frames (docs/wire.md), at most this many rounds and a frame.
fn forward(
    mut from: &TcpStream,
    mut into: &TcpStream,
    rounds: Option<usize>,
) -> std::io::Result<()> {
    let mut left = rounds;
    loop {
        let mut head = [0; 24];
        from.read_exact(&mut head)?;
        let mut body = vec![0; u32::from_le_bytes(head[..4].try_into().unwrap()) as usize];
        from.read_exact(&mut body)?;
        into.write_all(&head)?;
        into.write_all(&body)?;
        match &mut left {
            Some(0) if head[4] == FrameKind::Data as u8 => return Ok(()),
            Some(left) if head[4] == FrameKind::RoundEnd as u8 => *left = left.saturating_sub(1),
            _ => {}
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A session that was recorded, and the memory after each round.
pub(crate) struct Session {
    pub(crate) recording: Recording,
    pub(crate) rounds: Vec<Vec<u8>>,
    /// The image of an earlier session, whose rounds were there when it began.
    pub(crate) earlier: Option<Vec<u8>>,
}

/// What is there before a session begins.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum There {
    /// A file, [`OLD`].
    File,
    /// What a receiver of another session has left when it was stopped.
    Session,
}

/// A session whose receiver is stopped. Returns the image of its last round.
fn leave_session(path: &Path) -> Vec<u8> {
    let receiving = Receiving::at(path, receiver_config());
    let stop = CancelToken::default();
    let mut twin = RemoteTwin::connect(sender_config(receiving.address), stop.clone()).unwrap();
    let mut guest = Toy::with(6, &REGIONS);
    guest.wild = false;
    let mut replication = Replication::start(guest, &mut twin, ()).unwrap();
    for _ in 0..3 {
        replication.source_mut().write(8);
        replication.round(&stop).unwrap();
    }
    let memory = replication.pause_and_settle(&stop).unwrap().source().memory.concat();
    receiving.stop.set();
    receiving.end().unwrap_err();
    memory
}

/// Sends to a receiver that is recorded. The connection breaks twice, in the middle of rounds.
pub(crate) fn session(there: There) -> Session {
    let dir = on_disk();
    let path = dir.path().join("twin");
    let earlier = match there {
        There::Session => Some(leave_session(&path)),
        There::File => {
            fs::write(path, OLD).unwrap();
            None
        }
    };
    let (listener, port) = (TcpListener::bind("127.0.0.1:0").unwrap(), free_port());
    let address = listener.local_addr().unwrap();
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| proxy(&listener, to, &[4, 1], &over));
        let sending = scope.spawn(|| {
            // Also when it panics.
            let sent = std::panic::catch_unwind(|| send(address));
            over.store(true, Ordering::SeqCst);
            sent
        });
        let port = port.to_string();
        let recording = recorded("a_twin_is_received", dir.path(), &[(PORT, &port)]);
        Session { recording, rounds: sending.join().unwrap().unwrap(), earlier }
    })
}

fn send(address: SocketAddr) -> Vec<Vec<u8>> {
    let stop = CancelToken::default();
    let began = Instant::now();
    let mut twin = loop {
        let config = SenderConfig {
            compression: Compression::Always(CompressionMethod::None),
            ..sender_config(address)
        };
        match RemoteTwin::connect(config, stop.clone()) {
            Ok(twin) => break twin,
            Err(error) => assert!(began.elapsed() < Duration::from_secs(60), "{error}"),
        }
        thread::sleep(Duration::from_millis(10));
    };
    let mut guest = Toy::with(5, &REGIONS);
    guest.wild = false;
    let mut replication = Replication::start(guest, &mut twin, ()).unwrap();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        replication.source_mut().write(8);
        let round = replication.round(&stop).unwrap().n as usize;
        assert_eq!(round, rounds.len());
        rounds.push(replication.source().memory.concat());
        // So that most rounds are acknowledged one by one.
        thread::sleep(Duration::from_millis(10));
    }
    let mut still = replication.pause_and_settle(&stop).unwrap();
    let memory = still.source().memory.clone();
    rounds.resize(still.rounds() as usize, memory.concat());
    still.release().unwrap();
    replication.finish().unwrap();
    let digests: Vec<[u8; 32]> = memory.iter().map(|it| *blake3::hash(it).as_bytes()).collect();
    assert_eq!(twin.finish(TwinVerdict::Identical, "", &digests).unwrap(), Ok(()));
    assert!(twin.figures().reconnects >= 1, "{:?}", twin.figures());
    rounds
}
