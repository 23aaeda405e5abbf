//! A session from its beginning to its verdict, and everything that is not one.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod common;

use common::{Receiving, Toy, receiver_config, replicate, sender_config};
use memtwin_pages::Image as _;
use memtwin_remote::{
    Compression, ReceiveEnd, ReceiverConfig, RemoteError, RemoteTwin, SenderConfig, TwinReceiver,
};
use memtwin_replicate::{CancelToken, Sink as _, Source as _};
use memtwin_twin::is_marked_incomplete;
use memtwin_wire::{CompressionMethod, TwinVerdict};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A guest that dies in its first round leaves no twin. The receiver learns that its sender is gone, and waits
/// for it no longer than for any other.
#[test]
fn a_sender_that_fails_in_its_first_round_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let wait = Duration::from_millis(300);
    let config = ReceiverConfig { wait, ..receiver_config() };
    let receiving = Receiving::at(&dir.path().join("twin"), config);
    let mut twin =
        RemoteTwin::connect(sender_config(receiving.address), CancelToken::default()).unwrap();
    let layout = Toy::new(1).layout().clone();
    twin.open(&layout).unwrap();
    let kept = twin.finish(TwinVerdict::Inconclusive, "the guest died", &[]).unwrap();
    assert!(kept.unwrap_err().contains("first round"));
    match receiving.end().unwrap() {
        ReceiveEnd::Abandoned { held, .. } => assert_eq!(held, None),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_twin_ends_identical_with_and_without_deltas_and_however_it_is_squeezed() {
    for (delta, compression) in [
        (true, Compression::Auto),
        (false, Compression::Auto),
        (true, Compression::Always(CompressionMethod::Lz4)),
        (true, Compression::Always(CompressionMethod::Zstd)),
        (true, Compression::Always(CompressionMethod::None)),
    ] {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = dir.path().join("twin");
        let receiving = Receiving::at(&path, receiver_config());
        let config = SenderConfig { delta, compression, ..sender_config(receiving.address) };
        let sent = replicate(Toy::new(1), config, 40, 100).unwrap();
        assert!(sent.memory == sent.twin && sent.kept.is_ok());
        assert_eq!(sent.figures.reconnects, 0);
        let ended = receiving.end().unwrap();
        let judged = ReceiveEnd::Judged {
            outcome: TwinVerdict::Identical,
            reason: String::new(),
            kept: Ok(()),
        };
        assert_eq!(ended, judged);
        assert!(fs::read(&path).unwrap() == sent.memory);
        assert_eq!(names(dir.path()), ["twin"]);
    }
}

/// The control: the log lies, and the pages are named, by fetching no more than those.
#[test]
fn lost_pages_are_found_over_the_wire() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = dir.path().join("twin");
    let receiving = Receiving::at(&path, receiver_config());
    let mut guest = Toy::new(2);
    guest.wild = false;
    guest.hides = vec![(0, 3), (0, 250), (1, 16), (2, 1)];
    for (region, page) in guest.hides.clone() {
        guest.write_to(region, page, 5);
    }
    // Pre-copy has them still; the change comes after it.
    let config = sender_config(receiving.address);
    let stop = memtwin_replicate::CancelToken::default();
    let mut twin = memtwin_remote::RemoteTwin::connect(config, stop.clone()).unwrap();
    let mut replication = memtwin_replicate::Replication::start(guest, &mut twin, ()).unwrap();
    replication.round(&stop).unwrap();
    let before = replication.source_mut().memory.clone();
    for (region, page) in replication.source().hides.clone() {
        replication.source_mut().write_to(region, page, 5);
    }
    let mut still = replication.pause_and_settle(&stop).unwrap();
    let memory = still.source().memory.clone();
    for (i, memory) in memory.iter().enumerate() {
        let guess = |offset: u64, into: &mut [u8]| {
            into.copy_from_slice(&memory[offset as usize..][..into.len()]);
            Ok(())
        };
        let region = still.sink().region(memtwin_pages::RegionId(i), Box::new(guess)).unwrap();
        let mut twin = vec![0; memory.len()];
        region.read_at(0, &mut twin).unwrap();
        assert!(twin == before[i], "region {i}: not what the receiver holds");
        assert!(twin != *memory);
    }
    drop(still);
    replication.finish().unwrap();
    // A sender that calls it identical is not believed: the file has other digests.
    let digests: Vec<[u8; 32]> = memory.iter().map(|it| *blake3::hash(it).as_bytes()).collect();
    let kept = twin.finish(TwinVerdict::Identical, "", &digests).unwrap();
    assert!(kept.unwrap_err().contains("digest"));
    let ReceiveEnd::Judged { outcome: TwinVerdict::Differs, kept: Err(_), .. } =
        receiving.end().unwrap()
    else {
        panic!("it was kept");
    };
    assert_eq!(names(dir.path()), ["twin.partial"]);
}

#[test]
fn a_twin_that_was_not_judged_identical_is_not_kept() {
    for outcome in [TwinVerdict::Differs, TwinVerdict::Inconclusive] {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = dir.path().join("twin");
        let receiving = Receiving::at(&path, receiver_config());
        let stop = memtwin_replicate::CancelToken::default();
        let config = sender_config(receiving.address);
        let mut twin = memtwin_remote::RemoteTwin::connect(config, stop.clone()).unwrap();
        let mut replication =
            memtwin_replicate::Replication::start(Toy::new(3), &mut twin, ()).unwrap();
        replication.round(&stop).unwrap();
        replication.pause_and_settle(&stop).unwrap();
        replication.finish().unwrap();
        assert!(is_marked_incomplete(&path).unwrap().is_some());
        assert!(twin.finish(outcome, "why", &[]).unwrap().is_err());
        let ReceiveEnd::Judged { outcome: got, reason, .. } = receiving.end().unwrap() else {
            panic!()
        };
        assert_eq!((got, reason.as_str()), (outcome, "why"));
        assert_eq!(names(dir.path()), ["twin.partial"]);
    }
}

/// Nothing of it reaches the file, and the sender whose turn it is is not held up.
#[test]
fn strangers_are_sent_away_without_a_byte_written() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = dir.path().join("twin");
    let config = memtwin_remote::ReceiverConfig {
        patience: Duration::from_millis(600),
        ..receiver_config()
    };
    let receiving = Receiving::at(&path, config);
    let call = || TcpStream::connect(receiving.address).unwrap();
    let gone = |mut stranger: TcpStream| {
        stranger.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // Closed without a word, or reset.
        assert!(matches!(stranger.read(&mut [0; 64]), Ok(0) | Err(_)));
    };
    let mut garbage = call();
    let _ = garbage.write_all(b"GET / HTTP/1.1\r\nHost: memtwin\r\n\r\n");
    let mut oversized = call();
    let _ = oversized.write_all(&[0xff; 4096]);
    let silent = call();
    let half_closed = call();
    half_closed.shutdown(Shutdown::Write).unwrap();
    // One byte at a time, each in time to be heard, and never a HELLO.
    let mut slow = call();
    let dripping = std::thread::spawn(move || {
        while slow.write_all(&[0]).is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let sent = replicate(Toy::new(4), sender_config(receiving.address), 5, 20).unwrap();
    assert!(sent.kept.is_ok());
    [garbage, oversized, silent, half_closed].into_iter().for_each(gone);
    dripping.join().unwrap();
    receiving.end().unwrap();
    assert_eq!(names(dir.path()), ["twin"]);
}

#[test]
fn a_second_session_is_foreign_while_the_first_one_lasts() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = dir.path().join("twin");
    let receiving = Receiving::at(&path, receiver_config());
    let stop = memtwin_replicate::CancelToken::default();
    let config = sender_config(receiving.address);
    let mut first = memtwin_remote::RemoteTwin::connect(config.clone(), stop.clone()).unwrap();
    let mut replication =
        memtwin_replicate::Replication::start(Toy::new(5), &mut first, ()).unwrap();
    replication.round(&stop).unwrap();
    let second = memtwin_remote::RemoteTwin::connect(config, stop.clone()).unwrap_err();
    assert!(second.to_string().contains("another session"), "{second}");
    replication.round(&stop).unwrap();
    replication.finish().unwrap();
    first.finish(TwinVerdict::Inconclusive, "", &[]).unwrap().unwrap_err();
    receiving.end().unwrap();
}

#[test]
fn no_link_is_followed_and_nothing_else_is_a_twin() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let at = |name: &str| dir.path().join(name);
    let refused = |name: &str| {
        let error = TwinReceiver::new(at(name), receiver_config()).unwrap_err();
        assert!(!error.to_string().contains('\n'));
        error.to_string()
    };
    fs::write(at("precious"), "precious").unwrap();
    symlink(at("precious"), at("link")).unwrap();
    assert!(refused("link").contains("symbolic link"));
    fs::create_dir(at("dir")).unwrap();
    assert!(refused("dir").contains("no regular file"));
    assert!(refused("missing/twin").contains("cannot open"));
    fs::write(at("a.journal"), "not ours").unwrap();
    assert!(refused("a").contains("no journal of memtwin"));
    assert_eq!(fs::read(at("a.journal")).unwrap(), b"not ours");

    // Links planted where the sidecars will be: replaced, not followed.
    for sidecar in ["twin.partial", "twin.journal.new"] {
        symlink(at("precious"), at(sidecar)).unwrap();
    }
    let receiving = Receiving::at(&at("twin"), receiver_config());
    assert!(replicate(Toy::new(6), sender_config(receiving.address), 3, 9).unwrap().kept.is_ok());
    receiving.end().unwrap();
    symlink(at("precious"), at("twin2.journal")).unwrap();
    refused("twin2");
    symlink(at("precious"), at("twin3.replicating")).unwrap();
    refused("twin3");
    assert_eq!(fs::read(at("precious")).unwrap(), b"precious");
}

#[test]
fn a_receiver_that_is_stopped_leaves_what_its_next_life_goes_on_with() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = dir.path().join("twin");
    let receiving = Receiving::at(&path, receiver_config());
    let address = receiving.address;
    let stop = memtwin_replicate::CancelToken::default();
    let mut twin =
        memtwin_remote::RemoteTwin::connect(sender_config(address), stop.clone()).unwrap();
    let mut replication =
        memtwin_replicate::Replication::start(Toy::new(7), &mut twin, ()).unwrap();
    for _ in 0..10 {
        replication.source_mut().write(50);
        replication.round(&stop).unwrap();
    }
    receiving.stop.set();
    assert!(matches!(receiving.end(), Err(RemoteError::Stopped)));
    assert!(is_marked_incomplete(&path).unwrap().is_some());
    // The next life, at the same address.
    let door = memtwin_remote::Listener::listen(address, None).unwrap();
    let receiving = Receiving::through(door, &path, receiver_config());
    replication.source_mut().write(50);
    replication.round(&stop).unwrap();
    let mut still = replication.pause_and_settle(&stop).unwrap();
    let memory = still.source().memory.clone();
    still.release().unwrap();
    replication.finish().unwrap();
    let digests: Vec<[u8; 32]> = memory.iter().map(|it| *blake3::hash(it).as_bytes()).collect();
    assert_eq!(twin.finish(TwinVerdict::Identical, "", &digests).unwrap(), Ok(()));
    assert!(twin.figures().reconnects >= 1);
    // Not everything went again.
    assert!(twin.figures().pages_again < 300, "{:?}", twin.figures());
    receiving.end().unwrap();
    assert!(fs::read(&path).unwrap() == memory.concat());
}

/// A guest that takes longer to make than a receiver waits for its regions: its sender calls again, by
/// itself, and nothing is lost.
#[test]
fn a_sender_that_was_sent_away_before_it_named_its_regions_calls_again() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = dir.path().join("twin");
    let introduction = Duration::from_millis(300);
    let config = memtwin_remote::ReceiverConfig { introduction, ..receiver_config() };
    let receiving = Receiving::at(&path, config);
    let stop = memtwin_replicate::CancelToken::default();
    let config = sender_config(receiving.address);
    let mut twin = memtwin_remote::RemoteTwin::connect(config, stop.clone()).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let mut guest = Toy::new(8);
    guest.wild = false;
    let memory = guest.memory.clone();
    let mut replication = memtwin_replicate::Replication::start(guest, &mut twin, ()).unwrap();
    replication.round(&stop).unwrap();
    drop(replication.pause_and_settle(&stop).unwrap());
    replication.finish().unwrap();
    let digests: Vec<[u8; 32]> = memory.iter().map(|it| *blake3::hash(it).as_bytes()).collect();
    assert_eq!(twin.finish(TwinVerdict::Identical, "", &digests).unwrap(), Ok(()));
    assert_eq!(twin.figures().reconnects, 1);
    receiving.end().unwrap();
    assert!(fs::read(&path).unwrap() == memory.concat());
}
