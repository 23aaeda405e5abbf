//! The acknowledgement that QEMU waits for before it leaves pre-copy (migration/migration.c,
//! `migration_can_switchover()`).

use super::{Hold, HoldKind};
use crate::error::OpenError;
use crate::socket::StreamSocket;
use memtwin_qemu::QemuSettings;
use memtwin_qmp::Qmp;
use memtwin_stream::return_path;
use std::io;

/// Withholds it.
#[derive(Debug)]
pub(crate) struct SwitchoverAck;

impl SwitchoverAck {
    /// The capability.
    pub(crate) const CAPABILITY: &str = "switchover-ack";
}

impl Hold for SwitchoverAck {
    fn kind(&self) -> HoldKind {
        HoldKind::SwitchoverAck
    }

    fn settings(&self, settings: QemuSettings) -> QemuSettings {
        settings.capability(Self::CAPABILITY, true)
    }

    fn prepare(&self, _qmp: &mut Qmp) -> Result<(), OpenError> {
        Ok(())
    }

    fn held_bytes(&self) -> u64 {
        0
    }

    fn let_go(&self, stream: &StreamSocket) -> io::Result<()> {
        stream.send(&return_path::switchover_ack())
    }
}
