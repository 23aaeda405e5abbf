//! A small blocking client of the QEMU Machine Protocol (`docs/interop/qmp-spec.rst` in QEMU's
//! source): JSON messages, one a line or pretty-printed, over a unix socket, TCP or libvirt.
//!
//! [`Qmp`] is all of it, [`MonitorAddress`] says where a monitor is, and [`running()`] which QEMUs there are. No call waits longer than it is told to; events that arrive meanwhile are
//! kept in bounded memory ([`EventQueue`] says which are given up first); what can go wrong is told
//! apart in [`QmpError`].

#![forbid(unsafe_code)]

mod address;
mod begin;
mod client;
mod command_line;
mod connect;
mod descriptors;
mod error;
mod events;
mod libvirt;
mod message;
mod monitor_socket;
mod peer;
mod pending;
mod route;
mod running;
mod silent;

pub use address::{AbstractName, AddressError, LibvirtDomain, MonitorAddress};
pub use client::Qmp;
pub use command_line::{ListedMonitor, QemuCommandLine};
pub use error::QmpError;
pub use events::{EventQueue, QmpEvent, Timestamp};
pub use pending::PendingAnswer;
pub use running::{RunningQemu, running};
