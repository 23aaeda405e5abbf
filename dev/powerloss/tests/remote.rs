//! A receiver, and a power loss after every system call of its life: what is taken for whole is
//! whole, and its next life goes on with every round that it had acknowledged, byte for byte.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end at what it did not expect")]

mod common;
mod session;
#[path = "../../../crates/remote/tests/common/mod.rs"]
mod toy;

use common::{Findings, Limits, crash_everywhere, directory, losses, taken_for_whole};
use memtwin_powerloss::{Op, Recording};
use memtwin_remote::{Listener, ReceiverConfig, TwinReceiver};
use memtwin_replicate::CancelToken;
use memtwin_twin::UnfinishedTwin;
use memtwin_wire::FrameKind;
use session::{OLD, PORT, Session, There, session};
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use toy::receiver_config;

/// Not a test: the receiver that is recorded.
#[test]
fn a_twin_is_received() {
    let Some(dir) = directory() else { return };
    let port = std::env::var(PORT).unwrap().parse().unwrap();
    // A journal that is begun again several times.
    let config = ReceiverConfig { journal_bytes: 20 << 10, ..receiver_config() };
    let mut receiver = TwinReceiver::new(dir.join("twin"), config).unwrap();
    let mut door = Listener::listen(SocketAddr::from(([127, 0, 0, 1], port)), None).unwrap();
    receiver.run(&mut door, &CancelToken::default()).unwrap();
}

/// What the receiver has promised before this operation: the last round, and that it is complete.
fn promised(recording: &Recording, done: usize) -> (Option<u32>, bool) {
    let (mut acknowledged, mut complete) = (None, false);
    for op in &recording.ops[..done] {
        let Op::Sent { bytes, .. } = op else { continue };
        match bytes.get(4) {
            Some(&kind) if kind == FrameKind::Ack as u8 && bytes.len() == 28 => {
                let round = u32::from_le_bytes(bytes[24..].try_into().unwrap());
                acknowledged = acknowledged.max(Some(round));
            }
            Some(&kind) if kind == FrameKind::Confirm as u8 && bytes.len() > 24 => {
                complete |= bytes[24] == 0;
            }
            _ => {}
        }
    }
    (acknowledged, complete)
}

/// An unfinished image that holds a whole round: which, and its bytes.
fn checkpoint(path: &Path) -> Option<(u32, Vec<u8>)> {
    let state = UnfinishedTwin::find(&File::open(path).ok()?).unwrap()?;
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
    let receiver = TwinReceiver::new(&path, receiver_config())
        .map_err(|error| format!("it does not go on: {}", without_path(&error.to_string(), dir)))?;
    match receiver.recovered() {
        Some(round) => {
            let image = fs::read(&path).unwrap();
            if let (Some(earlier), None) = (&session.earlier, acknowledged)
                && image.starts_with(earlier)
            {
                return Ok(());
            }
            let expected = &session.rounds[round as usize];
            if image.get(..expected.len()) != Some(expected) {
                return Err("it goes on with what is no round".to_owned());
            }
            if Some(round) < acknowledged {
                return Err("it goes on with an older round than it acknowledged".to_owned());
            }
            Ok(())
        }
        None if acknowledged.is_none() && session.earlier.is_none() => Ok(()),
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
    let session = session(There::File);
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

/// Until another session has shown that it may take its place, one that was there goes on.
#[test]
fn nor_is_the_session_lost_that_was_there() {
    let session = session(There::Session);
    let recording = &session.recording;
    let found = crash(&session, recording, losses(5));
    assert!(found.wrong.is_empty(), "{found:?}");
    println!("{} operations, {} states", recording.ops.len(), found.states);
    assert!(found.states > 150, "{found:?}");

    // The control: the new journal may have its name before the image that it names has one.
    let names = |i: &usize| matches!(recording.ops[*i], Op::SyncDirectory { .. });
    let syncs: Vec<_> = recording.syncs().into_iter().filter(names).collect();
    let found = crash(&session, &recording.without(&syncs), losses(6).first());
    println!("without the syncs of the names: {found:?}");
    assert!(found.count > 0, "{found:?}");
}
