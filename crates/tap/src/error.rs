//! Why a QEMU can't be tapped: the facts and a way out, in one line.

use crate::{CloseError, UndoError};
use memtwin_pages::{PageSizeError, RegionError};
use memtwin_qemu::{BlocksError, MigrationObstacle, MigrationStatus, SettingsError};
use memtwin_qmp::QmpError;
use memtwin_stream::DecodeError;
use std::io;

/// What stands in the way of a tap.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// QEMU can't be asked.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// Somebody else migrates this guest.
    #[error(
        "a migration of this guest is under way ('{status}'); wait for its end, or cancel it with migrate_cancel"
    )]
    Busy {
        /// Where it is.
        status: MigrationStatus,
    },
    /// QEMU says that this guest can't be migrated, and why.
    #[error("QEMU can't migrate this guest, so its memory can't be had this way: {}", reasons.join("; "))]
    Blocked {
        /// QEMU's own words.
        reasons: Vec<String>,
    },
    /// This guest must not be made to migrate.
    #[error("{0}")]
    Obstacle(MigrationObstacle),
    /// Whether it must not can't be found out.
    #[error(transparent)]
    Blocks(#[from] BlocksError),
    /// There is no way to hold it in pre-copy.
    #[error("QEMU {version} can't be held in pre-copy: {reason}")]
    CannotHold {
        /// Its version.
        version: String,
        /// Why not, and which can.
        reason: String,
    },
    /// No hold that was tried has held it.
    #[error(
        "QEMU left pre-copy before it was asked to: it is not held by {tried}, and what it sent says nothing \
         about its log{more}"
    )]
    NotHeld {
        /// What was tried.
        tried: String,
        /// What else there might be, if anything.
        more: String,
    },
    /// It could not be left as it was when a hold had failed.
    #[error("QEMU is not held in pre-copy by what was tried first; and then {undo}")]
    NotUndone {
        /// Why.
        undo: CloseError,
    },
    /// Its blocks changed between two holds.
    #[error("its RAMBlocks have changed meanwhile: memory was plugged or unplugged; try again")]
    OtherBlocks,
    /// A migration setting whose effect is not known.
    #[error(
        "the migration {kind} {name} is set ({value}), and what it does is not known to this version of \
         Memtwin; put it back to its default for as long as this runs"
    )]
    UnknownSetting {
        /// capability or parameter.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What it is set to.
        value: String,
    },
    /// The block node that is to hold QEMU can't be added.
    #[error("can't add the block node that is to hold QEMU in pre-copy: {error}")]
    NoNode {
        /// Why.
        error: QmpError,
    },
    /// Somebody else has added a dirty bitmap at the same moment.
    #[error(
        "somebody else has added the dirty bitmap {bitmap} at the same moment, so QEMU will not store it in \
         its image; remove it and add it again, then try again"
    )]
    ForeignBitmap {
        /// Its node and its name.
        bitmap: String,
    },
    /// The bitmap that is to hold QEMU is not part of the migration.
    #[error("QEMU does not migrate the dirty bitmap that is to hold it in pre-copy; try again")]
    NoBitmapSent,
    /// Another Memtwin is at work on it.
    #[error(
        "another Memtwin, or the guardian of one that was killed, is at work on this QEMU (process {pid}); wait for its end"
    )]
    InUse {
        /// QEMU's process.
        pid: u32,
    },
    /// What an earlier run left could not be put back.
    #[error(
        "an earlier run was killed and has left migration settings changed, and they can't be put back: {undo}"
    )]
    Leftovers {
        /// Why.
        undo: UndoError,
    },
    /// Pages of this size are not decoded.
    #[error(
        "this target has pages of {page_bytes} bytes, and its migration stream is decoded with pages of {ours}: \
         this target can't be audited by this version of Memtwin"
    )]
    OtherPageSize {
        /// The target's, in bytes.
        page_bytes: u64,
        /// What the stream is decoded with.
        ours: u64,
    },
    /// Who connected for the stream is not the process whose memory is judged.
    #[error(
        "the stream came from another process ({who}) than QEMU's ({pid}): nothing was judged; give the right one \
         with --pid, or leave that out"
    )]
    OtherProcess {
        /// The process that was to come.
        pid: u32,
        /// Who came.
        who: String,
    },
    /// Somebody else has set a capability at the same moment.
    #[error(
        "somebody else has set the migration capability {name} at the same moment; try again when nobody else migrates this guest"
    )]
    SettingsChanged {
        /// The capability.
        name: String,
    },
    /// QEMU refused the settings.
    #[error("the migration settings: {0}")]
    Settings(#[from] SettingsError),
    /// No socket, or no guardian.
    #[error("{what}: {errno}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        errno: io::Error,
    },
    /// The stream is not understood.
    #[error("QEMU's migration stream: {0}")]
    Stream(#[from] DecodeError),
    /// The stream ended before the list of blocks.
    #[error("QEMU ended the migration before its first page: {reason}")]
    Ended {
        /// QEMU's own words, or what we know.
        reason: String,
    },
    /// The stream does not begin.
    #[error("QEMU has sent no list of RAMBlocks in {seconds} s; see query-migrate on its monitor")]
    Silent {
        /// How long was waited.
        seconds: u64,
    },
    /// A RAMBlock that can't be a region.
    #[error("RAMBlock {0}")]
    Region(#[from] RegionError),
    /// A target page size that is none.
    #[error("the target's {0}")]
    PageSize(#[from] PageSizeError),
    /// It failed, and QEMU could not be left as it was either.
    #[error("{first}; and then {undo}")]
    AndUndo {
        /// What failed first.
        first: Box<OpenError>,
        /// What failed then.
        undo: CloseError,
    },
}
