//! Why a QEMU can't be tapped: the facts and a way out, in one line.

use crate::{CloseError, UndoError};
use memtwin_pages::{PageSizeError, RegionError};
use memtwin_qemu::{MigrationStatus, SettingsError};
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
    /// QEMU is too old to be held in pre-copy.
    #[error(
        "QEMU {version} can't be held in pre-copy, as it has no {missing}; QEMU 8.2 or later is needed"
    )]
    TooOld {
        /// Its version.
        version: String,
        /// What it lacks.
        missing: &'static str,
    },
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
