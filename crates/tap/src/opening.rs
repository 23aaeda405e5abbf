//! The beginning of a tap: from a QMP connection to a migration that has listed its blocks.

use crate::cleanup::Cleanup;
use crate::error::OpenError;
use crate::guardian::Guardian;
use crate::hold::{Hold, HoldKind, ways_to_hold};
use crate::reader::{ReadResult, StreamReader, stall_timeout};
use crate::settings::wanted;
use crate::stream_offer::{StreamOffer, StreamPath};
use crate::throttle::{Pace, Throttle};
use crate::tracker::BlockListReader;
use crate::undo::Undo;
use crate::undo_note::{TakenNote, UndoNote};
use memtwin_qemu::{
    HazardPolicy, ProcessId, QemuSettings, capabilities, migration, migration_obstacle, parameters,
    status,
};
use memtwin_qmp::{MonitorAddress, Qmp};
use memtwin_replicate::CancelToken;
use memtwin_stream::{BlockEntry, Decoder, FeedError, StreamLimits};
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// The page size of most targets, in bytes: before QEMU has said which it is.
const USUAL_PAGE_BYTES: u32 = 4096;
/// The page sizes whose records are decoded, in bytes (docs/qemu-stream.md).
const DECODED_PAGES: RangeInclusive<u32> = 1 << 8..=1 << 16;
/// How long QEMU may take until it has listed its blocks: it switches dirty logging on before.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
const SETUP_INTERVAL: Duration = Duration::from_millis(2);

/// The QEMU that is to be tapped, and how.
#[derive(Clone, Debug)]
pub struct TapTarget {
    /// Where its monitor is, to connect again when the connection breaks.
    pub monitor: MonitorAddress,
    /// How its stream comes to us.
    pub stream: StreamPath,
    /// Its process.
    pub pid: u32,
    /// How long the guest may stand still for us at most.
    pub max_pause: Duration,
    /// A directory that is ours alone and outlives us: for the note of what there is to undo.
    pub notes: PathBuf,
    /// Whether a guest that QEMU is known to harm by migrating it is tapped all the same.
    pub hazards: HazardPolicy,
}

/// A migration to us that has begun.
#[derive(Debug)]
pub(crate) struct BegunMigration {
    pub(crate) reader: StreamReader,
    pub(crate) decoder: Decoder,
    pub(crate) blocks: Vec<BlockEntry>,
    pub(crate) machine: String,
    /// Whether the guest ran.
    pub(crate) ran: bool,
    /// What is to hold it in pre-copy.
    pub(crate) hold: Box<dyn Hold>,
    /// Whether it is known to.
    pub(crate) is_sure: bool,
    /// Why nothing else might, as the end of a sentence.
    pub(crate) no_other: String,
    /// Whether it can be told what a link carries.
    pub(crate) is_told: bool,
    pub(crate) cleanup: Cleanup,
}

/// Begins a migration to us, with the best hold that was not `tried` before. `guardian` executes a program
/// that calls [`guardian_main`](crate::guardian_main).
///
/// Errors: QEMU is left as it was, or what was left is in the error.
pub(crate) fn begin(
    qmp: &mut Qmp,
    target: &TapTarget,
    guardian: Command,
    tried: &[HoldKind],
    stop: &CancelToken,
) -> Result<BegunMigration, OpenError> {
    let system = |what| move |errno| OpenError::System { what, errno };
    let qemu = ProcessId::of(target.pid).map_err(system("QEMU's process"))?;
    let taken = UndoNote::take(&target.notes, &qemu);
    let note = match taken.map_err(system("the note of QEMU's settings"))? {
        TakenNote::InUse => return Err(OpenError::InUse { pid: target.pid }),
        TakenNote::Ours(note, None) => note,
        TakenNote::Ours(note, Some(left)) => {
            // Before anything is looked at: what was left is not the owner's own.
            left.put_back(qmp).map_err(|undo| OpenError::Leftovers { undo })?;
            note
        }
    };
    // From here on to its being written a note says nothing, and must not stay.
    let Wanted { settings: wanted, hold, is_sure, no_other, is_told } =
        look(qmp, tried, target.hazards).inspect_err(|_| note.remove())?;
    let mut parameters = Throttle::all_values(target.max_pause, hold.held_bytes());
    for (name, value) in &wanted.parameters {
        parameters.entry(name.clone()).or_default().push(value.clone());
    }
    let undo = Undo {
        settings: wanted.before(qmp).inspect_err(|_| note.remove())?,
        capabilities: wanted.capabilities.clone(),
        parameters,
        node: hold.node().map(str::to_owned),
        ran: status(qmp).inspect_err(|_| note.remove())?.running,
        qemu,
        monitor: target.monitor.clone(),
        peer: qmp.peer_pid().map_err(system("SO_PEERCRED of the QMP socket"))?,
    };
    let offered = StreamOffer::new(target.stream, target.pid).inspect_err(|_| note.remove());
    let (socket, offer) = offered.map_err(system("a socket for the stream"))?;
    let copy = qmp.try_clone().map_err(system("copying the QMP connection"))?;
    // Before anything is changed.
    note.write(&undo).map_err(system("the note of QEMU's settings"))?;
    let guardian = Guardian::post(guardian, copy, socket.as_fd(), &note, &undo)
        .inspect_err(|_| note.remove())
        .map_err(system("starting the guardian process"))?;
    let ran = undo.ran;
    let mut cleanup = Cleanup::new(undo, note, guardian);
    let reader = || StreamReader::start(socket.clone(), stall_timeout(target.max_pause));
    let connected = |stream: BorrowedFd<'_>| cleanup.guardian().give_stream(stream);
    match begun(qmp, &wanted, &*hold, offer, reader, connected, stop) {
        Ok(ListedBlocks { reader, decoder, blocks, machine }) => Ok(BegunMigration {
            reader,
            decoder,
            blocks,
            machine,
            ran,
            hold,
            is_sure,
            no_other,
            is_told,
            cleanup,
        }),
        Err(first) => Err(match cleanup.finish(qmp, &socket) {
            Ok(()) => first,
            Err(undo) => OpenError::AndUndo { first: Box::new(first), undo },
        }),
    }
}

/// What a QEMU needs to be tapped.
pub(crate) struct Wanted {
    pub(crate) settings: QemuSettings,
    pub(crate) hold: Box<dyn Hold>,
    /// Whether it is known to hold this QEMU.
    pub(crate) is_sure: bool,
    /// Why nothing else might hold it, as the end of a sentence.
    pub(crate) no_other: String,
    /// Whether it can be told what a link carries.
    pub(crate) is_told: bool,
}

/// Looks whether this QEMU can be tapped, and what that takes. Changes nothing.
pub(crate) fn look(
    qmp: &mut Qmp,
    tried: &[HoldKind],
    hazards: HazardPolicy,
) -> Result<Wanted, OpenError> {
    let now = migration(qmp)?;
    if now.status.is_under_way() {
        return Err(OpenError::Busy { status: now.status });
    }
    if !now.blocked_reasons.is_empty() {
        return Err(OpenError::Blocked { reasons: now.blocked_reasons });
    }
    if let Some(obstacle) = migration_obstacle(qmp, hazards)? {
        return Err(OpenError::Obstacle(obstacle));
    }
    let (has, knows) = (capabilities(qmp)?, parameters(qmp)?);
    let choice = ways_to_hold(qmp, &has, &knows)?;
    let hold = choice.next(tried)?;
    let is_told = knows.contains_key("avail-switchover-bandwidth");
    let page_bytes = USUAL_PAGE_BYTES;
    let pace = Pace { page_bytes, is_told, held_bytes: hold.held_bytes(), sent_lately: 0 };
    let settings = wanted(qmp, (&has, &knows), &*hold, &pace)?;
    let is_sure = choice.is_sure;
    Ok(Wanted { settings, hold, is_sure, no_other: choice.no_bitmap, is_told })
}

/// Changes the settings, and has QEMU migrate into the other end of the socket.
fn begun(
    qmp: &mut Qmp,
    wanted: &QemuSettings,
    hold: &dyn Hold,
    offer: StreamOffer,
    reader: impl FnOnce() -> io::Result<StreamReader>,
    connected: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>,
    stop: &CancelToken,
) -> Result<ListedBlocks, OpenError> {
    wanted.apply(qmp)?;
    hold.prepare(qmp)?;
    let reader = offer.migrate(qmp, reader, connected)?;
    are_set(qmp, wanted)?;
    let since = Instant::now();
    let page_bytes = page_bytes(qmp, &reader, since, stop)?;
    let listed = listed(qmp, reader, hold, page_bytes, since, stop)?;
    match u64::from(listed.decoder.page_bytes()) {
        ours if ours == page_bytes => Ok(listed),
        // Pages of another size than the stream is decoded with would be misread.
        ours => Err(OpenError::OtherPageSize { page_bytes, ours }),
    }
}

/// Errors unless the capabilities are those that we have set: from here on, while a migration is under way,
/// QEMU lets nobody set them.
fn are_set(qmp: &mut Qmp, wanted: &QemuSettings) -> Result<(), OpenError> {
    let now = capabilities(qmp)?;
    let differ =
        |(name, state): (&String, &bool)| (now.get(name) != Some(state)).then(|| name.clone());
    match wanted.capabilities.iter().find_map(differ) {
        Some(name) => Err(OpenError::SettingsChanged { name }),
        None => Ok(()),
    }
}

/// The target's page size in bytes, from QEMU itself: most targets' streams do not say it. QEMU says it
/// once the migration is set up.
fn page_bytes(
    qmp: &mut Qmp,
    reader: &StreamReader,
    since: Instant,
    stop: &CancelToken,
) -> Result<u64, OpenError> {
    loop {
        let now = migration(qmp)?;
        if let Some(bytes) = now.ram.map(|ram| ram.page_size).filter(|bytes| *bytes > 0) {
            return Ok(bytes);
        }
        if !now.status.is_under_way() || reader.why_ended().is_some() {
            return Err(OpenError::Ended { reason: why(qmp) });
        }
        if since.elapsed() > LIST_TIMEOUT {
            return Err(OpenError::Silent { seconds: LIST_TIMEOUT.as_secs() });
        }
        if stop.wait(SETUP_INTERVAL) {
            return Err(OpenError::Ended { reason: "interrupted".to_owned() });
        }
    }
}

/// The beginning of the stream, up to the list of blocks.
struct ListedBlocks {
    reader: StreamReader,
    decoder: Decoder,
    blocks: Vec<BlockEntry>,
    machine: String,
}

fn listed(
    qmp: &mut Qmp,
    mut reader: StreamReader,
    hold: &dyn Hold,
    page_bytes: u64,
    since: Instant,
    stop: &CancelToken,
) -> Result<ListedBlocks, OpenError> {
    let decoded = u32::try_from(page_bytes).ok().filter(|bytes| DECODED_PAGES.contains(bytes));
    let ours = u64::from(USUAL_PAGE_BYTES);
    let decoded = decoded.ok_or(OpenError::OtherPageSize { page_bytes, ours })?;
    let mut decoder = Decoder::new(StreamLimits::default(), decoded);
    let mut opening = BlockListReader::default();
    loop {
        match reader.read(POLL_INTERVAL) {
            ReadResult::Bytes => {}
            ReadResult::End => return Err(OpenError::Ended { reason: why(qmp) }),
            ReadResult::Nothing if stop.is_set() => {
                return Err(OpenError::Ended { reason: "interrupted".to_owned() });
            }
            ReadResult::Nothing if since.elapsed() > LIST_TIMEOUT => {
                return Err(OpenError::Silent { seconds: LIST_TIMEOUT.as_secs() });
            }
            ReadResult::Nothing => continue,
        }
        for at in 0..reader.bytes().len() {
            // One by one, so that no page is taken: there is no twin for it yet.
            decoder.feed(&reader.bytes()[at..=at], &mut opening).map_err(|error| match error {
                FeedError::Decode(error) => OpenError::Stream(error),
                FeedError::Visitor(never) => match never {},
            })?;
            if let Some((node, name)) =
                opening.bitmaps.iter().find(|(node, name)| !hold.owns(node, name))
            {
                return Err(OpenError::ForeignBitmap { bitmap: format!("{node}/{name}") });
            }
            // The bitmaps are listed behind the blocks, and before the first page.
            let all = hold.node().is_none() || opening.bitmaps_listed;
            if hold.node().is_some()
                && (opening.bitmaps_listed || opening.has_begun)
                && opening.bitmaps.is_empty()
            {
                return Err(OpenError::NoBitmapSent);
            }
            if let Some(blocks) = opening.blocks.take_if(|_| all) {
                reader.put_back(at + 1);
                return Ok(ListedBlocks { reader, decoder, blocks, machine: opening.machine });
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
