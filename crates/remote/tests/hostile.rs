//! Peers that mean harm or are broken, one after the other: each is sent away at once, nothing of it
//! is written and nothing that was there is deleted, the right sender is served next, and memory
//! stays bounded. Once with an empty place, once with what a recovered session has left there.
//!
//! The receiver's time-outs are an hour: whoever waits for one of them does not end in time.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod common;
#[path = "common/hostile_cases.rs"]
mod hostile_cases;
#[path = "common/peer.rs"]
mod peer;

use common::{Receiving, Toy, receiver_config, replicate, sender_config};
use hostile_cases::{Case, before_hello, first_rounds, layouts, sixteen};
use memtwin_remote::{ReceiveEnd, ReceiverConfig, RemoteTwin, SenderConfig};
use memtwin_replicate::{CancelToken, Replication};
use memtwin_wire::{FrameKind, TwinVerdict, WireMessage};
use peer::{SocketPeer, full, layout, record, round_end};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// A few regions of a few pages: each case has a session of its own.
const SMALL: [(u64, u64); 2] = [(40, 4096), (8, 512)];

fn patient() -> ReceiverConfig {
    ReceiverConfig { wait: HOUR, patience: HOUR, introduction: HOUR, ..receiver_config() }
}

/// Every file, with what it holds.
fn files(dir: &Path) -> BTreeMap<String, blake3::Hash> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let read = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        // A scratch file may go at any moment.
        let bytes = fs::read(entry.path()).unwrap_or_default();
        (name, blake3::hash(&bytes))
    };
    entries.map(read).collect()
}

/// Waits until the files are these again: a peer's are gone a moment after it is.
fn are_again(dir: &Path, before: &BTreeMap<String, blake3::Hash>, name: &str) {
    let began = std::time::Instant::now();
    while files(dir) != *before {
        assert!(began.elapsed() < peer::LIMIT, "{name}: {:?}, was {before:?}", files(dir));
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn memory_at_most(mib: u64) {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib / 1024 <= mib, "{} MiB were needed", kib / 1024);
}

/// A new session is served after each of them.
fn with_nothing_there(cases: Vec<Case>) {
    for (name, harm) in cases {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = dir.path().join("twin");
        let receiving = Receiving::at(&path, patient());
        let before = files(dir.path());
        harm(receiving.address);
        are_again(dir.path(), &before, name);
        let sent = replicate(Toy::with(1, &SMALL), sender_config(receiving.address), 2, 9)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(sent.kept, Ok(()), "{name}");
        let ReceiveEnd::Judged { outcome: TwinVerdict::Identical, .. } = receiving.end().unwrap()
        else {
            panic!("{name}")
        };
        assert!(fs::read(&path).unwrap() == sent.memory, "{name}");
    }
    memory_at_most(200);
}

/// The session whose rounds are there is gone on with after each of them.
fn with_a_recovered_session_there(cases: Vec<Case>) {
    for (name, harm) in cases {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = dir.path().join("twin");
        fs::write(dir.path().join("twin.partial"), "of an earlier session").unwrap();
        let receiving = Receiving::at(&path, patient());
        let stop = CancelToken::default();
        let config = sender_config(receiving.address);
        let config = SenderConfig { retry: peer::LIMIT, ..config };
        let mut twin = RemoteTwin::connect(config, stop.clone()).unwrap();
        let mut replication = Replication::start(Toy::with(2, &SMALL), &mut twin, ()).unwrap();
        for _ in 0..4 {
            replication.source_mut().write(9);
            replication.round(&stop).unwrap();
        }
        // Its receiver is started again.
        let address = receiving.address;
        receiving.stop.set();
        receiving.end().unwrap_err();
        fs::write(dir.path().join("twin.partial"), "of an earlier session").unwrap();
        let door = memtwin_remote::Listener::listen(address, None).unwrap();
        let receiving = Receiving::through(door, &path, patient());
        let before = files(dir.path());
        assert!(before.contains_key("twin.journal") && before.contains_key("twin"));
        harm(address);
        are_again(dir.path(), &before, name);
        replication.source_mut().write(9);
        replication.round(&stop).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut still = replication.pause_and_settle(&stop).unwrap();
        let memory = still.source().memory.clone();
        still.release().unwrap();
        replication.finish().unwrap();
        let digests: Vec<_> = memory.iter().map(|it| *blake3::hash(it).as_bytes()).collect();
        assert_eq!(twin.finish(TwinVerdict::Identical, "", &digests).unwrap(), Ok(()), "{name}");
        // It was gone on with, not begun again.
        assert!(twin.figures().pages_again < 40, "{name}: {:?}", twin.figures());
        receiving.end().unwrap();
        assert!(fs::read(&path).unwrap() == memory.concat(), "{name}");
    }
    memory_at_most(200);
}

#[test]
fn strangers() {
    with_nothing_there(before_hello());
}

#[test]
fn strangers_beside_a_recovered_session() {
    with_a_recovered_session_there(before_hello());
}

#[test]
fn layouts_that_are_none_or_too_large() {
    with_nothing_there(layouts());
}

#[test]
fn layouts_beside_a_recovered_session() {
    with_a_recovered_session_there(layouts());
}

#[test]
fn first_rounds_that_are_none() {
    with_nothing_there(first_rounds());
}

#[test]
fn first_rounds_beside_a_recovered_session() {
    with_a_recovered_session_there(first_rounds());
}

/// The control: a peer that is right does change what is there.
#[test]
fn a_whole_first_round_takes_the_place_of_a_recovered_session() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = dir.path().join("twin");
    for round in 0..2 {
        let receiving = Receiving::at(&path, patient());
        let mut peer = SocketPeer::calls(receiving.address);
        peer.begin(&sixteen());
        peer.send(FrameKind::Data, &full(0, 16));
        peer.send(FrameKind::RoundEnd, &round_end(round, 16));
        assert!(peer.hears(FrameKind::Ack));
        let left = files(dir.path());
        assert!(left.contains_key("twin.journal") && left.contains_key("twin"), "{left:?}");
        receiving.stop.set();
        receiving.end().unwrap_err();
    }
}

/// Peers that hold on to their place do not hold the receiver.
#[test]
fn twenty_that_only_give_signs_of_life() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let receiving = Receiving::at(&dir.path().join("twin"), patient());
    let mut peers: Vec<SocketPeer> =
        (0..20).map(|_| SocketPeer::calls(receiving.address)).collect();
    for peer in &mut peers[..16] {
        peer.hello();
        peer.say(&WireMessage::Ping(1));
        assert!(peer.hears(FrameKind::Pong));
    }
    let sent = replicate(Toy::with(3, &SMALL), sender_config(receiving.address), 2, 9).unwrap();
    assert_eq!(sent.kept, Ok(()));
    receiving.end().unwrap();
}

/// A peer that sends without a pause, work that costs it nothing: the receiver can be stopped.
#[test]
fn a_flood_of_zeros_does_not_make_a_receiver_deaf() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let receiving = Receiving::at(&dir.path().join("twin"), patient());
    let mut peer = SocketPeer::calls(receiving.address);
    let pages = 8192;
    peer.begin(&layout(&[(b"r", 0, 12, pages)]));
    for first in (0..pages).step_by(128) {
        peer.send(FrameKind::Data, &full(first, 128));
    }
    peer.send(FrameKind::RoundEnd, &round_end(0, pages));
    assert!(peer.hears(FrameKind::Ack));
    // As many as one frame may name, one page at a time, or all of them in one record.
    let each: Vec<u8> = (0..pages).flat_map(|page| record(2, &[0, page, 1], &[])).collect();
    for _ in 0..20 {
        peer.send(FrameKind::Data, &each);
    }
    let flood = std::thread::spawn(move || {
        let all = record(2, &[0, 0, pages], &[]);
        loop {
            let frame = peer.frame(FrameKind::Data, &all);
            if std::io::Write::write_all(&mut peer.socket, &frame).is_err() {
                return;
            }
        }
    });
    std::thread::sleep(Duration::from_millis(200));
    receiving.stop.set();
    receiving.end().unwrap_err();
    flood.join().unwrap();
}
