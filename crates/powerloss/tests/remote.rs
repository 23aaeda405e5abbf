//! A receiver, and a power loss after every system call of its life: what is taken for whole is
//! whole, and its next life goes on with every round that it had acknowledged, byte for byte.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end at what it did not expect")]

mod common;
#[path = "../../remote/tests/common/mod.rs"]
mod toy;

use common::{
    Findings, Limits, crash_everywhere, directory, losses, on_disk, recorded, taken_for_whole,
};
use memtwin_powerloss::{Op, Recording};
use memtwin_remote::{Compression, Door, Receiver, ReceiverConfig, RemoteTwin, SenderConfig};
use memtwin_replicate::{Replication, Stop};
use memtwin_twin::Unfinished;
use memtwin_wire::{Kind, Method, Outcome};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use toy::{Toy, receiver_config, sender_config};

const PORT: &str = "MEMTWIN_POWERLOSS_PORT";
const REGIONS: [(u64, u64); 2] = [(5, 4096), (9, 512)];
const ROUNDS: usize = 20;
const OLD: [u8; 8192] = [0x01; 8192];

/// Not a test: the receiver that is recorded.
#[test]
fn a_twin_is_received() {
    let Some(dir) = directory() else { return };
    let port = std::env::var(PORT).unwrap().parse().unwrap();
    // A journal that is begun again several times.
    let config = ReceiverConfig { journal_bytes: 20 << 10, ..receiver_config() };
    let mut receiver = Receiver::new(dir.join("twin"), config).unwrap();
    let mut door = Door::listen(SocketAddr::from(([127, 0, 0, 1], port)), None).unwrap();
    receiver.run(&mut door, &Stop::default()).unwrap();
}

/// Passes connections on until it is told to stop. Each of the first ones breaks in the middle of a
/// round: after so many rounds, when the next one's first frame has gone through.
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

/// Forwards frames (docs/wire.md), at most so many rounds and a frame.
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
            Some(0) if head[4] == Kind::Data as u8 => return Ok(()),
            Some(left) if head[4] == Kind::RoundEnd as u8 => *left = left.saturating_sub(1),
            _ => {}
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A session that was recorded, and the memory after each round.
struct Session {
    recording: Recording,
    rounds: Vec<Vec<u8>>,
}

/// Sends to a receiver that is recorded. The connection breaks twice, in the middle of rounds.
fn session() -> Session {
    let dir = on_disk();
    fs::write(dir.path().join("twin"), OLD).unwrap();
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
        Session { recording, rounds: sending.join().unwrap().unwrap() }
    })
}

fn send(address: SocketAddr) -> Vec<Vec<u8>> {
    let stop = Stop::default();
    let began = Instant::now();
    let mut twin = loop {
        let config = SenderConfig {
            compression: Compression::Always(Method::None),
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
    let mut still = replication.stand_still(&stop).unwrap();
    let memory = still.source().memory.clone();
    rounds.resize(still.rounds() as usize, memory.concat());
    still.release().unwrap();
    replication.finish().unwrap();
    let digests: Vec<[u8; 32]> = memory.iter().map(|it| *blake3::hash(it).as_bytes()).collect();
    assert_eq!(twin.finish(Outcome::Identical, "", &digests).unwrap(), Ok(()));
    assert!(twin.figures().reconnects >= 1, "{:?}", twin.figures());
    rounds
}

/// What the receiver has promised before this operation: the last round, and that it is complete.
fn promised(recording: &Recording, done: usize) -> (Option<u32>, bool) {
    let (mut acknowledged, mut complete) = (None, false);
    for op in &recording.ops[..done] {
        let Op::Sent { bytes, .. } = op else { continue };
        match bytes.get(4) {
            Some(&kind) if kind == Kind::Ack as u8 && bytes.len() == 28 => {
                let round = u32::from_le_bytes(bytes[24..].try_into().unwrap());
                acknowledged = acknowledged.max(Some(round));
            }
            Some(&kind) if kind == Kind::Confirm as u8 && bytes.len() > 24 => {
                complete |= bytes[24] == 0;
            }
            _ => {}
        }
    }
    (acknowledged, complete)
}

/// An unfinished image that holds a whole round: which, and its bytes.
fn checkpoint(path: &Path) -> Option<(u32, Vec<u8>)> {
    let state = Unfinished::find(&File::open(path).ok()?).unwrap()?;
    let image = fs::read(path).unwrap()[..state.trailer().bytes as usize].to_vec();
    state.trailer().round.map(|round| (round, image))
}

fn check(dir: &Path, session: &Session, promised: (Option<u32>, bool)) -> Result<(), String> {
    let path = dir.join("twin");
    let (acknowledged, complete) = promised;
    let last = session.rounds.last().unwrap();
    for name in ["twin", "twin.first", "twin.partial"] {
        match taken_for_whole(&dir.join(name)) {
            None => {}
            Some(bytes) if bytes == OLD || bytes == *last && name == "twin" => {}
            Some(_) => return Err(format!("{name}: taken for whole, and is no round")),
        }
    }
    if complete {
        return match taken_for_whole(&path) {
            Some(bytes) if bytes == *last => Ok(()),
            _ => Err("twin: confirmed as complete, and is not".to_owned()),
        };
    }
    // The next life.
    let receiver = Receiver::new(&path, receiver_config())
        .map_err(|error| format!("it does not go on: {}", without_path(&error.to_string(), dir)))?;
    match receiver.recovered() {
        Some(round) => {
            let image = fs::read(&path).unwrap();
            let expected = &session.rounds[round as usize];
            if image.get(..expected.len()) != Some(expected) {
                return Err("it goes on with what is no round".to_owned());
            }
            if Some(round) < acknowledged {
                return Err("it goes on with an older round than it acknowledged".to_owned());
            }
            Ok(())
        }
        None if acknowledged.is_none() => Ok(()),
        // Judged, and all that is left is the word of it: the image is the last round.
        None => match (checkpoint(&dir.join("twin.partial")), taken_for_whole(&path)) {
            (Some((round, image)), _)
                if Some(round) >= acknowledged && image == session.rounds[round as usize] =>
            {
                Ok(())
            }
            (_, Some(image)) if image == *last => Ok(()),
            _ => Err("it has lost what it acknowledged".to_owned()),
        },
    }
}

fn without_path(error: &str, dir: &Path) -> String {
    error.replace(&dir.display().to_string(), "")
}

/// Looks at every moment of a recording, perhaps a changed one, of this session.
fn crash(session: &Session, recording: &Recording, limits: Limits) -> Findings {
    crash_everywhere(recording, limits, |dir, _, done| {
        check(dir, session, promised(&session.recording, done))
    })
}

#[test]
fn no_acknowledged_round_is_lost_and_no_file_is_whole_that_is_not() {
    let session = session();
    let recording = &session.recording;
    let promises = promised(recording, recording.ops.len());
    assert!(promises.0 >= Some(5) && promises.1, "{promises:?}");
    let found = crash(&session, recording, losses(5));
    assert!(found.wrong.is_empty(), "{found:?}");
    println!("{} operations, {} states", recording.ops.len(), found.states);
    assert!(found.states > 150, "{found:?}");

    // The controls: syncs that do nothing, all of them, or all of one kind of file.
    let syncs = recording.syncs();
    let of = |name: &str| -> Vec<usize> {
        let created = |op: &Op| match op {
            Op::Create { name: created, file } if created == Path::new(name) => Some(*file),
            _ => None,
        };
        let files: Vec<_> = recording.ops.iter().filter_map(created).collect();
        let is_of = |i: &usize| matches!(recording.ops[*i], Op::SyncFile { file, .. } if files.contains(&file));
        syncs.iter().copied().filter(is_of).collect()
    };
    let of_names = |i: &usize| matches!(recording.ops[*i], Op::SyncDirectory { .. });
    let controls = [
        ("all", syncs.clone()),
        ("of the image", of("twin.first")),
        ("of the journals", of("twin.journal.new")),
        ("of the names", syncs.iter().copied().filter(of_names).collect()),
    ];
    for (which, syncs) in controls {
        assert!(syncs.len() > 3, "{which}: {syncs:?}");
        let found = crash(&session, &recording.without(&syncs), losses(6).first());
        println!("without the syncs {which}: {found:?}");
        assert!(found.count > 0, "{which}: {found:?}");
    }
}
