//! The beginning of a tap: from a QMP connection to a migration that has listed its blocks.

use crate::error::OpenError;
use crate::guardian::Guardian;
use crate::pace::Pace;
use crate::undo::Undo;
use crate::watch::Opening;
use crate::wire::{Got, Wire};
use memtwin_qemu::{
    Settings, balloon, capabilities, migration, migration_hazard, parameters, status, version,
};
use memtwin_qmp::{Qmp, QmpError};
use memtwin_replicate::Stop;
use memtwin_stream::{BlockEntry, Decoder, FeedError, Limits};
use serde_json::json;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

/// The page size of targets whose stream does not say (x86; docs/qemu.md).
const USUAL_PAGE_BYTES: u32 = 4096;
/// What QEMU calls the socket that it is given.
const SOCKET_NAME: &str = "memtwin-tap";
/// How long QEMU may take until it has listed its blocks: it switches dirty logging on before.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// Capabilities that change the stream or the guest in a way that a tap has no use for.
const UNWANTED: [&str; 15] = [
    "auto-converge",
    "background-snapshot",
    "compress",
    "dirty-bitmaps",
    "dirty-limit",
    "mapped-ram",
    "multifd",
    "pause-before-switchover",
    "postcopy-preempt",
    "postcopy-ram",
    "rdma-pin-all",
    "x-colo",
    "x-ignore-shared",
    "xbzrle",
    "zero-copy-send",
];

/// A migration to us that has begun.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) wire: Wire,
    pub(crate) decoder: Decoder,
    pub(crate) blocks: Vec<BlockEntry>,
    pub(crate) machine: String,
    /// What was read behind the list of blocks.
    pub(crate) ahead: Vec<u8>,
    pub(crate) undo: Undo,
    /// Kept for its end.
    pub(crate) guardian: Guardian,
}

/// Begins a migration to us. `guardian` executes a program that calls
/// [`guardian_main`](crate::guardian_main).
///
/// Errors: QEMU is left as it was.
pub(crate) fn begin(qmp: &mut Qmp, guardian: Command, stop: &Stop) -> Result<Begun, OpenError> {
    let wanted = look(qmp)?;
    let undo = Undo { settings: wanted.before(qmp)?, ran: status(qmp)?.running };
    let system = |what| move |errno| OpenError::System { what, errno };
    let (wire, theirs) = Wire::pair().map_err(system("a socket for the stream"))?;
    let copy = qmp.try_clone().map_err(system("copying the QMP connection"))?;
    // Before anything is changed.
    let guardian = Guardian::post(guardian, copy, wire.as_fd(), &undo)
        .map_err(system("starting the guardian process"))?;
    match change(qmp, &wanted, wire, theirs, stop) {
        Ok((wire, Listed { decoder, blocks, machine, ahead })) => {
            Ok(Begun { wire, decoder, blocks, machine, ahead, undo, guardian })
        }
        Err(first) => Err(match undo.run(qmp) {
            Ok(()) => first,
            Err(undo) => OpenError::AndUndo { first: Box::new(first), undo },
        }),
    }
}

/// Looks whether this QEMU can be tapped, and returns the settings that this takes.
fn look(qmp: &mut Qmp) -> Result<Settings, OpenError> {
    let now = migration(qmp)?;
    if now.status.is_under_way() {
        return Err(OpenError::Busy { status: now.status });
    }
    if !now.blocked_reasons.is_empty() {
        return Err(OpenError::Blocked { reasons: now.blocked_reasons });
    }
    if let Some(reason) = migration_hazard(qmp)? {
        return Err(OpenError::Blocked { reasons: vec![reason] });
    }
    let has = capabilities(qmp)?;
    let knows = parameters(qmp)?;
    let missing = match () {
        () if !has.contains_key("switchover-ack") => Some("switchover-ack"),
        () if !knows.contains_key("avail-switchover-bandwidth") => {
            Some("avail-switchover-bandwidth")
        }
        () => None,
    };
    if let Some(missing) = missing {
        return Err(OpenError::TooOld { version: version(qmp)?.to_string(), missing });
    }
    let mut settings = Pace::Full.settings(USUAL_PAGE_BYTES);
    for unwanted in UNWANTED.into_iter().filter(|name| has.contains_key(*name)) {
        settings = settings.capability(unwanted, false);
    }
    // QEMU takes no hints at free pages, which it would not send, where postcopy could follow.
    if has.contains_key("postcopy-ram") && balloon(qmp)?.is_some_and(|balloon| balloon.hints) {
        settings = settings.capability("postcopy-ram", true);
    }
    // A stream in TLS is for somebody else; what crosses this socket does not leave the machine.
    if knows.contains_key("tls-creds") {
        settings = settings.parameter("tls-creds", "");
    }
    Ok(settings.capability("return-path", true).capability("switchover-ack", true))
}

/// Changes the settings, and has QEMU migrate into the other end of the wire.
///
/// Errors: the wire is shut, so that QEMU does not wait for us.
fn change(
    qmp: &mut Qmp,
    wanted: &Settings,
    mut wire: Wire,
    theirs: OwnedFd,
    stop: &Stop,
) -> Result<(Wire, Listed), OpenError> {
    let begun = begun(qmp, wanted, &mut wire, theirs, stop);
    // The guardian has a copy of it: that it is dropped here does not end it.
    begun.inspect_err(|_| wire.shut()).map(|listed| (wire, listed))
}

fn begun(
    qmp: &mut Qmp,
    wanted: &Settings,
    wire: &mut Wire,
    theirs: OwnedFd,
    stop: &Stop,
) -> Result<Listed, OpenError> {
    wanted.apply(qmp)?;
    qmp.send_fd(SOCKET_NAME, theirs.as_fd())?;
    drop(theirs);
    let uri = json!({ "uri": format!("fd:{SOCKET_NAME}") });
    let begun: Result<serde_json::Value, QmpError> = qmp.execute("migrate", uri);
    match begun {
        Ok(_) => {}
        // A blocker that shows only now.
        Err(QmpError::Refused { desc, .. }) => {
            // It was not taken, and would lie there until the monitor's client goes.
            let _: Result<serde_json::Value, _> =
                qmp.execute("closefd", json!({ "fdname": SOCKET_NAME }));
            return Err(OpenError::Blocked { reasons: vec![desc] });
        }
        Err(error) => return Err(error.into()),
    }
    listed(qmp, wire, stop)
}

/// The beginning of the stream, up to the list of blocks.
struct Listed {
    decoder: Decoder,
    blocks: Vec<BlockEntry>,
    machine: String,
    ahead: Vec<u8>,
}

fn listed(qmp: &mut Qmp, wire: &mut Wire, stop: &Stop) -> Result<Listed, OpenError> {
    let mut decoder = Decoder::new(Limits::default(), USUAL_PAGE_BYTES);
    let mut opening = Opening::default();
    let since = Instant::now();
    loop {
        let got = wire
            .read(LOOK)
            .map_err(|errno| OpenError::System { what: "reading QEMU's stream", errno })?;
        let bytes = match got {
            Got::Bytes(count) => wire.bytes(count),
            Got::End => return Err(OpenError::Ended { reason: why(qmp) }),
            Got::Nothing if stop.is_set() => {
                return Err(OpenError::Ended { reason: "interrupted".to_owned() });
            }
            Got::Nothing if since.elapsed() > PATIENCE => {
                return Err(OpenError::Silent { seconds: PATIENCE.as_secs() });
            }
            Got::Nothing => continue,
        };
        for (at, byte) in bytes.iter().enumerate() {
            // One by one, so that no page is taken: there is no twin for it yet.
            decoder.feed(std::slice::from_ref(byte), &mut opening).map_err(
                |error| match error {
                    FeedError::Decode(error) => OpenError::Stream(error),
                    FeedError::Visitor(never) => match never {},
                },
            )?;
            if let Some(blocks) = opening.blocks.take() {
                let ahead = bytes[at + 1..].to_vec();
                return Ok(Listed { decoder, blocks, machine: opening.machine, ahead });
            }
        }
    }
}

/// Why the migration ended, in QEMU's words.
pub(crate) fn why(qmp: &mut Qmp) -> String {
    match migration(qmp) {
        Ok(now) => match now.error_desc {
            Some(reason) => format!("{reason} (status '{}')", now.status),
            None => format!("its migration is '{}'", now.status),
        },
        Err(error) => error.to_string(),
    }
}
