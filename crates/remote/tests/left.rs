//! What a receiver leaves is known by what it holds, wherever it lies.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod common;

use common::{Receiving, Toy, receiver_config, sender_config};
use memtwin_remote::{RemoteError, TwinReceiver};
use memtwin_twin::is_marked_incomplete;
use std::fs;
use std::path::Path;

/// A receiver's files after it was stopped in the middle, and the round that they hold.
fn left_behind(dir: &Path) -> u32 {
    let receiving = Receiving::at(&dir.join("twin"), receiver_config());
    let stop = memtwin_replicate::CancelToken::default();
    let config = sender_config(receiving.address);
    let mut twin = memtwin_remote::RemoteTwin::connect(config, stop.clone()).unwrap();
    let mut replication =
        memtwin_replicate::Replication::start(Toy::new(8), &mut twin, ()).unwrap();
    for _ in 0..6 {
        replication.source_mut().write(50);
        replication.round(&stop).unwrap();
    }
    replication.pause_and_settle(&stop).unwrap();
    receiving.stop.set();
    assert!(matches!(receiving.end(), Err(RemoteError::Stopped)));
    TwinReceiver::new(dir.join("twin"), receiver_config()).unwrap().recovered().unwrap()
}

/// Copies have other inodes, and another disk has another device: what counts is what they hold.
#[test]
fn a_twin_and_its_journal_are_known_wherever_they_lie() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let round = left_behind(dir.path());
    let other = tempfile::tempdir().unwrap();
    for name in ["twin", "twin.journal"] {
        fs::copy(dir.path().join(name), other.path().join(name)).unwrap();
    }
    let receiver = TwinReceiver::new(other.path().join("twin"), receiver_config()).unwrap();
    assert_eq!(receiver.recovered(), Some(round));
    assert!(is_marked_incomplete(other.path().join("twin")).unwrap().is_some());
    drop(receiver);
    // As after a death between two names: of a first round that was whole, of a twin that was judged.
    for name in ["twin.first", "twin.partial"] {
        fs::rename(other.path().join("twin"), other.path().join(name)).unwrap();
        let receiver = TwinReceiver::new(other.path().join("twin"), receiver_config()).unwrap();
        assert_eq!(receiver.recovered(), Some(round), "{name}");
        assert!(!other.path().join(name).exists(), "{name}");
    }
}

/// A death when the journal was replaced, and the twin of the session before not yet.
#[test]
fn a_session_that_has_proved_itself_goes_before_the_one_at_its_place() {
    let (dir, before) =
        (tempfile::tempdir_in("/dev/shm").unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
    let round = left_behind(dir.path());
    left_behind(before.path());
    let (path, first) = (dir.path().join("twin"), dir.path().join("twin.first"));
    let image = fs::read(&path).unwrap();
    fs::rename(&path, &first).unwrap();
    fs::copy(before.path().join("twin"), &path).unwrap();
    assert_ne!(fs::read(&path).unwrap(), image);
    let receiver = TwinReceiver::new(&path, receiver_config()).unwrap();
    assert_eq!(receiver.recovered(), Some(round));
    drop(receiver);
    assert!(fs::read(&path).unwrap() == image && !first.exists());
}

/// A death before the journal was replaced: what was there is as it was, the other comes to nothing.
#[test]
fn a_first_round_that_no_journal_names_goes() {
    let (dir, other) =
        (tempfile::tempdir_in("/dev/shm").unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
    let round = left_behind(dir.path());
    left_behind(other.path());
    let (path, first) = (dir.path().join("twin"), dir.path().join("twin.first"));
    let image = fs::read(&path).unwrap();
    fs::copy(other.path().join("twin"), &first).unwrap();
    let receiver = TwinReceiver::new(&path, receiver_config()).unwrap();
    assert_eq!(receiver.recovered(), Some(round));
    drop(receiver);
    assert!(fs::read(&path).unwrap() == image && !first.exists());
}

/// Rounds that were promised to a sender are not thrown away because their image is not there.
#[test]
fn a_journal_without_its_image_is_kept() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let at = |name: &str| dir.path().join(name);
    let round = left_behind(dir.path());
    let journal = fs::read(at("twin.journal")).unwrap();
    let image = fs::read(at("twin")).unwrap();
    let another = tempfile::tempdir_in("/dev/shm").unwrap();
    left_behind(another.path());
    let others = fs::read(another.path().join("twin")).unwrap();
    let whole = image[..image.len() - 511].to_vec();
    for wrong in [None, Some(others), Some(whole)] {
        match wrong {
            Some(bytes) => fs::write(at("twin"), bytes).unwrap(),
            None => fs::remove_file(at("twin")).unwrap(),
        }
        let before = fs::read(at("twin")).ok();
        let error = TwinReceiver::new(at("twin"), receiver_config()).unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, RemoteError::Orphan { .. }), "{said}");
        assert!(said.contains(&format!("rounds up to {round}")) && !said.contains('\n'), "{said}");
        assert!(fs::read(at("twin.journal")).unwrap() == journal, "the journal was changed");
        assert!(fs::read(at("twin")).ok() == before, "what was there was changed");
    }
    // The control: with the image back it goes on.
    fs::write(at("twin"), &image).unwrap();
    let receiver = TwinReceiver::new(at("twin"), receiver_config()).unwrap();
    assert_eq!(receiver.recovered(), Some(round));
}

#[test]
fn a_journal_of_an_earlier_version_is_left_to_it() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let journal = dir.path().join("twin.journal");
    fs::write(&journal, "memtwin journal 1\nand more").unwrap();
    let error = TwinReceiver::new(dir.path().join("twin"), receiver_config()).unwrap_err();
    assert!(error.to_string().contains("earlier memtwin"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else");
}
