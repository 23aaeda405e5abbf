//! How a connection goes to QEMU, and what it carries besides commands and answers.

use crate::address::MonitorAddress;

/// How a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MonitorRoute {
    /// By a unix socket, of QEMU's own or of somebody who passes bytes on.
    Unix,
    /// By TCP: no descriptors.
    Tcp,
    /// By libvirt: descriptors if it passes them, no events, and no word of QEMU's process.
    Libvirt,
}

impl MonitorRoute {
    /// Of a connection to this address.
    pub(crate) fn of(address: &MonitorAddress) -> Self {
        match address {
            MonitorAddress::Path(_)
            | MonitorAddress::Abstract(_)
            | MonitorAddress::Descriptor(_) => Self::Unix,
            MonitorAddress::Tcp { .. } => Self::Tcp,
            MonitorAddress::Libvirt(_) => Self::Libvirt,
        }
    }

    /// Whether descriptors may pass: it is not known that they don't.
    pub(crate) fn may_pass_descriptors(self) -> bool {
        self != Self::Tcp
    }

    /// Whether events come in, each before the answers that it precedes.
    pub(crate) fn orders_events(self) -> bool {
        self != Self::Libvirt
    }
}
