//! A recorded session: played back whole it is taken, by a receiver that is told to have the same
//! nonce; with any single bit flipped it is refused; to a receiver with a nonce of its own it is
//! nothing.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod common;

use common::{Receiving, Toy, receiver_config, replicate, sender_config};
use memtwin_remote::{
    Compression, Door, Ended, Receiver, ReceiverConfig, RemoteError, SenderConfig, Stream,
};
use memtwin_replicate::Stop;
use memtwin_twin::is_marked_incomplete;
use memtwin_wire::{HEAD, Kind, Method};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

const NONCE: [u8; 16] = [42; 16];

/// What the sender of a short session says.
fn record(dir: &Path) -> Vec<u8> {
    let config = ReceiverConfig { nonce: Some(NONCE), ..receiver_config() };
    let receiving = Receiving::at(&dir.join("recorded"), config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let receiver = receiving.address;
    let tap = thread::spawn(move || {
        let mut sender = listener.accept().unwrap().0;
        let mut receiver = TcpStream::connect(receiver).unwrap();
        let (mut from, mut to) = (receiver.try_clone().unwrap(), sender.try_clone().unwrap());
        let answers = thread::spawn(move || std::io::copy(&mut from, &mut to));
        let (mut said, mut bytes) = (Vec::new(), [0; 4096]);
        while let Ok(read @ 1..) = sender.read(&mut bytes) {
            said.extend_from_slice(&bytes[..read]);
            receiver.write_all(&bytes[..read]).unwrap();
        }
        let _ = receiver.shutdown(Shutdown::Both);
        answers.join().unwrap().unwrap();
        said
    });
    let mut guest = Toy::with(1, &[(3, 512), (1, 512)]);
    guest.wild = false;
    // Mostly zeros, so that it is short.
    guest.memory.iter_mut().for_each(|memory| memory.fill(0));
    guest.write_to(0, 1, 1);
    let config =
        SenderConfig { compression: Compression::Always(Method::None), ..sender_config(address) };
    let sent = replicate(guest, config, 3, 3).unwrap();
    assert!(sent.kept.is_ok());
    receiving.end().unwrap();
    tap.join().unwrap()
}

/// Plays it to a receiver.
fn play(said: &[u8], path: &Path, nonce: Option<[u8; 16]>) -> Result<Ended, RemoteError> {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let mut receiver = Receiver::new(path, ReceiverConfig { nonce, ..receiver_config() })?;
    thread::scope(|scope| {
        let played = scope.spawn(move || {
            let mut door = Door::once(Stream::unix(theirs).unwrap());
            receiver.run(&mut door, &Stop::default())
        });
        // It may hang up in the middle.
        let _ = ours.write_all(said);
        let _ = ours.shutdown(Shutdown::Write);
        let _ = ours.read_to_end(&mut Vec::new());
        played.join().unwrap()
    })
}

fn is_kept(ended: &Result<Ended, RemoteError>) -> bool {
    matches!(ended, Ok(Ended::Judged { kept: Ok(()), .. }))
}

/// Where the last frame of this kind begins.
fn last(said: &[u8], kind: Kind) -> usize {
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
    let end = last(&said, Kind::Bye);
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
                    for suffix in ["", ".partial", ".journal", ".journal.new", ".replicating"] {
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
    for cut in (0..last(&said, Kind::Verdict)).step_by(7) {
        let path = dir.path().join(format!("cut-{cut}"));
        let ended = play(&said[..cut], &path, Some(NONCE)).unwrap();
        assert!(matches!(ended, Ended::Abandoned { .. }), "{cut}: {ended:?}");
        assert!(!path.exists() || is_marked_incomplete(&path).unwrap().is_some());
    }
}
