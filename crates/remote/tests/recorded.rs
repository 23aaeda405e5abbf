//! A recorded session: played back whole it is taken, by a receiver that is told to have the same
//! nonce; with any single bit flipped it is refused; to a receiver with a nonce of its own it is
//! nothing.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod common;

use common::{Receiving, Toy, receiver_config, replicate, sender_config};
use memtwin_pages::{Image as _, RegionId};
use memtwin_remote::{
    Compression, Listener, PeerStream, ReceiveEnd, ReceiverConfig, RemoteError, RemoteTwin,
    SenderConfig, TwinReceiver,
};
use memtwin_replicate::{CancelToken, Replication};
use memtwin_twin::is_marked_incomplete;
use memtwin_wire::{CompressionMethod, FrameKind, HEAD, TwinVerdict};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

const NONCE: [u8; 16] = [42; 16];

/// What both sides of a session said: the sender, the receiver.
type Said = (Vec<u8>, Vec<u8>);

/// A way to a receiver on which everything is written down.
fn tapped(receiver: SocketAddr) -> (SocketAddr, JoinHandle<Said>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let tap = thread::spawn(move || {
        let sender = listener.accept().unwrap().0;
        let receiver = TcpStream::connect(receiver).unwrap();
        let copy = |mut from: TcpStream, mut to: TcpStream| {
            thread::spawn(move || {
                let (mut said, mut bytes) = (Vec::new(), [0; 4096]);
                while let Ok(read @ 1..) = from.read(&mut bytes) {
                    said.extend_from_slice(&bytes[..read]);
                    // Its other end may be gone.
                    let _ = to.write_all(&bytes[..read]);
                }
                let _ = to.shutdown(Shutdown::Both);
                said
            })
        };
        let (to_receiver, to_sender) = (receiver.try_clone().unwrap(), sender.try_clone().unwrap());
        let (there, back) = (copy(sender, to_receiver), copy(receiver, to_sender));
        (there.join().unwrap(), back.join().unwrap())
    });
    (address, tap)
}

/// What the sender of a short session says.
fn record(dir: &Path) -> Vec<u8> {
    let config = ReceiverConfig { nonce: Some(NONCE), ..receiver_config() };
    let receiving = Receiving::at(&dir.join("recorded"), config);
    let (address, tap) = tapped(receiving.address);
    let mut guest = Toy::with(1, &[(3, 512), (1, 512)]);
    guest.wild = false;
    // Mostly zeros, so that it is short.
    guest.memory.iter_mut().for_each(|memory| memory.fill(0));
    guest.write_to(0, 1, 1);
    let config = SenderConfig {
        compression: Compression::Always(CompressionMethod::None),
        ..sender_config(address)
    };
    let sent = replicate(guest, config, 3, 3).unwrap();
    assert!(sent.kept.is_ok());
    receiving.end().unwrap();
    tap.join().unwrap().0
}

/// Not a test unless it is asked to be: writes the sessions that `crates/wire/tests/golden.rs` keeps
/// into the directory that MEMTWIN_RECORD_GOLDEN names.
#[test]
fn sessions_to_be_kept() {
    let Some(into) = std::env::var_os("MEMTWIN_RECORD_GOLDEN").map(PathBuf::from) else { return };
    for (name, method, hides) in [
        ("identical", CompressionMethod::Lz4, vec![]),
        ("differs", CompressionMethod::Zstd, vec![(0, 3)]),
    ] {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let config = ReceiverConfig { nonce: Some(NONCE), ..receiver_config() };
        let receiving = Receiving::at(&dir.path().join("twin"), config);
        let (address, tap) = tapped(receiving.address);
        let mut guest = Toy::with(1, &[(12, 4096), (9, 512), (1, 1 << 17)]);
        guest.wild = false;
        // Mostly zeros, so that it is short.
        guest.memory.iter_mut().for_each(|memory| memory.fill(0));
        (0..20).for_each(|i| guest.write_to(i % 3, 0, 5));
        (0..6).for_each(|i| guest.write_to(0, i, 5));
        guest.write_to(0, 7, 1);
        let compression = Compression::Always(method);
        let config = SenderConfig { compression, ..sender_config(address) };
        let stop = CancelToken::default();
        let mut twin = RemoteTwin::connect(config, stop.clone()).unwrap();
        let mut replication = Replication::start(guest, &mut twin, ()).unwrap();
        replication.round(&stop).unwrap();
        replication.source_mut().hides = hides.clone();
        for (region, page) in hides.clone() {
            replication.source_mut().write_to(region, page, 5);
        }
        for _ in 0..5 {
            replication.source_mut().write(6);
            replication.source_mut().write_to(0, 9, 1);
            replication.source_mut().write_to(1, 2, 0);
            replication.round(&stop).unwrap();
        }
        // Signs of life.
        thread::sleep(std::time::Duration::from_millis(1500));
        let mut still = replication.pause_and_settle(&stop).unwrap();
        let memory = still.source().memory.clone();
        let mut same = true;
        for (i, memory) in memory.iter().enumerate() {
            let guess = |offset: u64, into: &mut [u8]| {
                into.copy_from_slice(&memory[offset as usize..][..into.len()]);
                Ok(())
            };
            let region = still.sink().region(RegionId(i), Box::new(guess)).unwrap();
            let mut twin = vec![0; memory.len()];
            region.read_at(0, &mut twin).unwrap();
            same &= twin == *memory;
        }
        assert_eq!(same, hides.is_empty());
        still.release().unwrap();
        replication.finish().unwrap();
        let digests: Vec<_> = memory.iter().map(|it| *blake3::hash(it).as_bytes()).collect();
        let outcome = if same { TwinVerdict::Identical } else { TwinVerdict::Differs };
        let _ = twin.finish(outcome, "", &digests).unwrap();
        drop(twin);
        receiving.end().unwrap();
        let (sender, receiver) = tap.join().unwrap();
        fs::write(into.join(format!("v1-{name}-sender.bin")), sender).unwrap();
        fs::write(into.join(format!("v1-{name}-receiver.bin")), receiver).unwrap();
    }
}

/// A session that an earlier build has recorded is taken by this one.
#[test]
fn a_golden_session_is_taken() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wire/tests/golden");
    let said = fs::read(golden.join("v1-identical-sender.bin")).unwrap();
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    assert!(is_kept(&play(&said, &dir.path().join("twin"), Some(NONCE))));
    // The control: to another receiver it is a replay.
    assert!(!is_kept(&play(&said, &dir.path().join("other"), None)));
}

/// Plays it to a receiver.
fn play(said: &[u8], path: &Path, nonce: Option<[u8; 16]>) -> Result<ReceiveEnd, RemoteError> {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let mut receiver = TwinReceiver::new(path, ReceiverConfig { nonce, ..receiver_config() })?;
    thread::scope(|scope| {
        let played = scope.spawn(move || {
            let mut door = Listener::once(PeerStream::unix(theirs).unwrap());
            receiver.run(&mut door, &CancelToken::default())
        });
        // It may hang up in the middle.
        let _ = ours.write_all(said);
        let _ = ours.shutdown(Shutdown::Write);
        let _ = ours.read_to_end(&mut Vec::new());
        played.join().unwrap()
    })
}

fn is_kept(ended: &Result<ReceiveEnd, RemoteError>) -> bool {
    matches!(ended, Ok(ReceiveEnd::Judged { kept: Ok(()), .. }))
}

/// Where the last frame of this kind begins.
fn last(said: &[u8], kind: FrameKind) -> usize {
    let (mut at, mut found) = (0, None);
    while at < said.len() {
        if said[at + 4] == kind as u8 {
            found = Some(at);
        }
        let len = u32::from_le_bytes(said[at..at + 4].try_into().unwrap());
        at += HEAD + len as usize;
    }
    found.unwrap()
}

#[test]
fn every_flipped_bit_of_a_session_is_refused() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let said = record(dir.path());
    let twin = fs::read(dir.path().join("recorded")).unwrap();
    // The control: as it was, it is taken; its own receiver's nonce given.
    let path = dir.path().join("whole");
    assert!(is_kept(&play(&said, &path, Some(NONCE))));
    assert!(fs::read(&path).unwrap() == twin);
    // The same again to a receiver that lives now: a replay.
    let path = dir.path().join("replayed");
    assert!(!is_kept(&play(&said, &path, None)) && !path.exists());

    // What comes after the verdict is only a goodbye.
    let end = last(&said, FrameKind::Bye);
    assert!((500..4000).contains(&end), "{end} bytes");
    thread::scope(|scope| {
        for half in 0..2 {
            let (said, dir) = (&said, dir.path());
            scope.spawn(move || {
                for bit in (half..end * 8).step_by(2) {
                    let mut flipped = said.clone();
                    flipped[bit / 8] ^= 1 << (bit % 8);
                    let path = dir.join(format!("flipped-{half}"));
                    let ended = play(&flipped, &path, Some(NONCE));
                    assert!(!is_kept(&ended), "bit {bit}: {ended:?}");
                    // What came before the flip may be there, and says that it is not a twin.
                    if path.exists() {
                        let marked = is_marked_incomplete(&path).unwrap();
                        assert!(marked.is_some(), "bit {bit}: taken for a twin");
                    }
                    for suffix in
                        ["", ".first", ".partial", ".journal", ".journal.new", ".replicating"]
                    {
                        let mut name = path.clone().into_os_string();
                        name.push(suffix);
                        let _ = fs::remove_file(name);
                    }
                }
            });
        }
    });
}

#[test]
fn cut_anywhere_it_is_no_twin_and_its_sender_may_go_on() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let said = record(dir.path());
    for cut in (0..last(&said, FrameKind::Verdict)).step_by(7) {
        let path = dir.path().join(format!("cut-{cut}"));
        let ended = play(&said[..cut], &path, Some(NONCE)).unwrap();
        assert!(matches!(ended, ReceiveEnd::Abandoned { .. }), "{cut}: {ended:?}");
        assert!(!path.exists() || is_marked_incomplete(&path).unwrap().is_some());
    }
}
