//! QEMU's sockets that are no QMP monitors.

use std::path::Path;

/// A socket of QEMU's that is no QMP monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OtherSocket {
    /// A guest agent's channel.
    Agent,
    /// A serial line of the guest, or a port of virtio-serial.
    Serial,
    /// QEMU's human monitor.
    HumanMonitor,
}

impl OtherSocket {
    /// What its name says: libvirt's `…/org.qemu.guest_agent.0`, and what people write.
    pub(crate) fn of_name(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy();
        (name.contains("guest_agent") || name.starts_with("qga")).then_some(Self::Agent)
    }

    /// The words for a person.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Agent => "so it is no monitor: it is a guest agent's channel",
            Self::Serial => "so it is no monitor: it is a serial line of the guest",
            Self::HumanMonitor => "so it is no QMP: it is QEMU's human monitor",
        }
    }
}
