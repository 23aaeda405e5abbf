//! What holds QEMU in pre-copy until it may end.
//!
//! QEMU ends a migration's pre-copy by itself when what is pending is little enough. What keeps it from
//! that depends on its version and its machine type, and is only taken for true while it is seen to be
//! (docs/qemu.md, "What holds QEMU"):
//!
//! - [`SwitchoverAck`]: the word of the destination that QEMU waits for, withheld. QEMU 8.2 to 11.0; later
//!   ones wait for it with machine types of these versions alone.
//! - [`DirtyBitmap`]: a dirty bitmap of ours on an empty block node of ours, which QEMU sends only with its
//!   last pages, so that there is always something pending. QEMU 5.2 to 7.2, and 11.1 and later; in
//!   between QEMU would never look at its dirty log.

mod choice;
mod dirty_bitmap;
mod switchover_ack;

pub(crate) use choice::ways_to_hold;
pub(crate) use dirty_bitmap::DirtyBitmap;
pub(crate) use switchover_ack::SwitchoverAck;

use crate::error::OpenError;
use crate::socket::StreamSocket;
use memtwin_qemu::QemuSettings;
use memtwin_qmp::Qmp;
use std::fmt;
use std::io;

/// Which hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HoldKind {
    /// The withheld acknowledgement.
    SwitchoverAck,
    /// The dirty bitmap.
    DirtyBitmap,
}

impl HoldKind {
    /// The capability of QEMU's that it uses, by name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SwitchoverAck => "switchover-ack",
            Self::DirtyBitmap => "dirty-bitmaps",
        }
    }
}

impl fmt::Display for HoldKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SwitchoverAck => "a withheld acknowledgement (switchover-ack)",
            Self::DirtyBitmap => "a dirty bitmap of ours (dirty-bitmaps)",
        })
    }
}

/// Holds QEMU in pre-copy.
pub(crate) trait Hold: fmt::Debug + Send {
    /// Which one it is.
    fn kind(&self) -> HoldKind;

    /// These settings, with what the hold takes.
    fn settings(&self, settings: QemuSettings) -> QemuSettings;

    /// The block node that it adds to QEMU's, if it does.
    fn node(&self) -> Option<&str> {
        None
    }

    /// Makes it ready, the settings being made, before the migration begins.
    ///
    /// Errors: QEMU refuses; what was done is [undone](crate::Undo) by the caller.
    fn prepare(&self, qmp: &mut Qmp) -> Result<(), OpenError>;

    /// Whether a dirty bitmap that is migrated along is the hold's own.
    fn owns(&self, _node: &str, _bitmap: &str) -> bool {
        false
    }

    /// How many bytes are pending for its sake as long as it holds.
    fn held_bytes(&self) -> u64;

    /// Lets QEMU end, which then is a matter of its limits alone.
    ///
    /// Errors: the stream has ended already.
    fn let_go(&self, stream: &StreamSocket) -> io::Result<()>;
}
