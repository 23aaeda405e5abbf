//! A receiver that is killed with -9 at every named point of its life, several times over: what it
//! leaves is a whole round or marked as incomplete, its next life goes on with a round that it had
//! promised, byte for byte, and the session ends identical.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod common;

use common::{Toy, receiver_config, sender_config};
use memtwin_child::Spawn;
use memtwin_remote::{
    Listener, PointHook, ReceiverConfig, ReceiverPoint, RemoteTwin, SenderConfig, TwinReceiver,
};
use memtwin_replicate::{CancelToken, Replication};
use memtwin_twin::{UnfinishedTwin, is_marked_incomplete};
use memtwin_wire::TwinVerdict;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const TWIN: &str = "MEMTWIN_TEST_TWIN";
const PORT: &str = "MEMTWIN_TEST_PORT";
const DIES_AT: &str = "MEMTWIN_TEST_DIES_AT";
const DIES_AFTER: &str = "MEMTWIN_TEST_DIES_AFTER";

/// Not a test: the receiver, when another test starts this program again to be it.
#[test]
fn the_receiver_of_the_other_tests() {
    let Some(path) = std::env::var_os(TWIN).map(PathBuf::from) else { return };
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    let address = SocketAddr::from(([127, 0, 0, 1], number(PORT).unwrap() as u16));
    let dies_at = std::env::var(DIES_AT).unwrap();
    let left = AtomicU32::new(number(DIES_AFTER).unwrap());
    let at = PointHook::new(move |point| {
        if format!("{point:?}") == dies_at && left.fetch_sub(1, Ordering::SeqCst) == 1 {
            let me = rustix::process::getpid();
            rustix::process::kill_process(me, rustix::process::Signal::KILL).unwrap();
            thread::sleep(Duration::from_secs(60));
        }
    });
    let config = ReceiverConfig { at, journal_bytes: 150 << 10, ..receiver_config() };
    let mut receiver = TwinReceiver::new(&path, config).unwrap();
    if let Some(round) = receiver.recovered() {
        // The image, without the trailer that says that it is unfinished.
        let file = fs::File::open(&path).unwrap();
        let bytes = UnfinishedTwin::find(&file).unwrap().unwrap().trailer().bytes;
        let digest = blake3::hash(&fs::read(&path).unwrap()[..bytes as usize]);
        fs::write(path.with_extension("recovered"), format!("{round} {digest}")).unwrap();
    }
    // The last life's connections may linger for a moment.
    let began = Instant::now();
    let mut door = loop {
        match Listener::listen(address, None) {
            Ok(door) => break door,
            Err(error) => assert!(began.elapsed() < Duration::from_secs(30), "{error}"),
        }
        thread::sleep(Duration::from_millis(10));
    };
    receiver.run(&mut door, &CancelToken::default()).unwrap();
}

fn spawn(path: &Path, port: u16, dies_at: &str, after: u32) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_receiver_of_the_other_tests", "--nocapture"]);
    command.env(TWIN, path).env(PORT, port.to_string());
    command.env(DIES_AT, dies_at).env(DIES_AFTER, after.to_string());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn_bound().unwrap()
}

/// Keeps a receiver alive, whatever kills it: at a point this many times, then no more.
fn nurse(path: &Path, port: u16, dies_at: &str, after: u32, deaths: u32) -> u32 {
    let mut died = 0;
    let began = Instant::now();
    loop {
        let point = if died < deaths { dies_at } else { "nowhere" };
        let mut child = spawn(path, port, point, after);
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if began.elapsed() > Duration::from_secs(120) {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("the receiver did not end");
            }
            thread::sleep(Duration::from_millis(2));
        };
        if status.success() {
            return died;
        }
        died += 1;
        assert!(died <= deaths, "it died by itself: {status}");
        // Whatever is there now is no twin, and says so; or there is none.
        if path.exists() {
            assert!(is_marked_incomplete(path).unwrap().is_some(), "{dies_at}: taken for a twin");
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Sends to a receiver that is killed. Returns how often it was.
fn session(dies_at: &str, after: u32, deaths: u32) -> u32 {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = dir.path().join("twin");
    let (port, twin, point) = (free_port(), path.clone(), dies_at.to_owned());
    let nurse = thread::spawn(move || nurse(&twin, port, &point, after, deaths));
    let stop = CancelToken::default();
    let config = sender_config(SocketAddr::from(([127, 0, 0, 1], port)));
    let began = Instant::now();
    let mut twin = loop {
        match RemoteTwin::connect(config.clone(), stop.clone()) {
            Ok(twin) => break twin,
            Err(error) => assert!(began.elapsed() < Duration::from_secs(60), "{error}"),
        }
        thread::sleep(Duration::from_millis(5));
    };
    let mut guest = Toy::new(11);
    guest.wild = false;
    let mut replication = Replication::start(guest, &mut twin, ()).unwrap();
    let mut snapshots = Vec::new();
    for _ in 0..25 {
        replication.source_mut().write(12);
        let round = replication.round(&stop).unwrap().n;
        assert_eq!(round as usize, snapshots.len());
        snapshots.push(blake3::hash(&replication.source().memory.concat()));
        // What a life before has promised and the next one has found.
        check_recovered(&path, &snapshots);
    }
    let mut still = replication.pause_and_settle(&stop).unwrap();
    let memory = still.source().memory.clone();
    while snapshots.len() < still.rounds() as usize {
        snapshots.push(blake3::hash(&memory.concat()));
    }
    still.release().unwrap();
    replication.finish().unwrap();
    let digests: Vec<[u8; 32]> = memory.iter().map(|it| *blake3::hash(it).as_bytes()).collect();
    let kept = twin.finish(TwinVerdict::Identical, "", &digests);
    assert_eq!(kept.unwrap(), Ok(()), "{dies_at}");
    let died = nurse.join().unwrap();
    check_recovered(&path, &snapshots);
    assert!(fs::read(&path).unwrap() == memory.concat(), "{dies_at}: the file differs");
    assert_eq!(is_marked_incomplete(&path).unwrap(), None);
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().path()).collect();
    assert!(
        names.iter().all(|name| *name == path || name.ends_with("twin.recovered")),
        "{names:?}"
    );
    died
}

fn check_recovered(path: &Path, snapshots: &[blake3::Hash]) {
    let Ok(said) = fs::read_to_string(path.with_extension("recovered")) else { return };
    // Perhaps it is just being written.
    let Some((round, digest)) = said.split_once(' ') else { return };
    let Ok(round) = round.parse::<usize>() else { return };
    if digest.len() == 64
        && let Some(expected) = snapshots.get(round)
    {
        assert_eq!(digest, expected.to_string(), "recovered, but not to round {round}");
    }
}

#[test]
fn at_every_named_point() {
    for point in ReceiverPoint::ALL {
        if point == ReceiverPoint::JournalRemoved {
            continue;
        }
        let name = format!("{point:?}");
        let once = matches!(
            point,
            ReceiverPoint::FirstWritten
                | ReceiverPoint::FirstSynced
                | ReceiverPoint::FirstJournal
                | ReceiverPoint::FirstRenamed
                | ReceiverPoint::Judged
        );
        // The first time it gets there, and a later one.
        for (after, deaths) in [(1, 2), (3, 2)] {
            if once && after > 1 {
                continue;
            }
            let died = session(&name, after, deaths);
            assert!(died > 0, "{name}: never reached {after} times");
        }
    }
}

/// When all is done but the word of it: without the word there is no pass, and no twin.
#[test]
fn between_the_last_sync_and_the_word_of_it() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = dir.path().join("twin");
    let port = free_port();
    let mut child = spawn(&path, port, "JournalRemoved", 1);
    let stop = CancelToken::default();
    let config = SenderConfig {
        retry: Duration::from_millis(300),
        ..sender_config(SocketAddr::from(([127, 0, 0, 1], port)))
    };
    let mut twin = loop {
        match RemoteTwin::connect(config.clone(), stop.clone()) {
            Ok(twin) => break twin,
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    };
    let mut guest = Toy::new(12);
    guest.wild = false;
    let memory = guest.memory.clone();
    let mut replication = Replication::start(guest, &mut twin, ()).unwrap();
    replication.round(&stop).unwrap();
    drop(replication.pause_and_settle(&stop).unwrap());
    replication.finish().unwrap();
    let digests: Vec<[u8; 32]> = memory.iter().map(|it| *blake3::hash(it).as_bytes()).collect();
    let told = twin.finish(TwinVerdict::Identical, "", &digests);
    assert!(told.is_err(), "{told:?}");
    assert!(!child.wait().unwrap().success());
    assert!(is_marked_incomplete(&path).unwrap().is_some());
    assert_eq!(TwinReceiver::new(&path, receiver_config()).unwrap().recovered(), None);
    assert!(!path.exists() && path.with_extension("partial").exists());
}

/// The control: nobody is killed, nothing is recovered.
#[test]
fn at_no_point() {
    assert_eq!(session("nowhere", 1, 0), 0);
}
