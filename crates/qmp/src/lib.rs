//! A small blocking client of the QEMU Machine Protocol (`docs/interop/qmp-spec.rst` in QEMU's
//! source): JSON messages, one a line or pretty-printed, over a unix socket.
//!
//! [`Qmp`] is all of it. No call waits longer than it is told to; events that arrive meanwhile are
//! kept in bounded memory ([`EventQueue`] says which are given up first); what can go wrong is told
//! apart in [`QmpError`].

#![forbid(unsafe_code)]

mod begin;
mod client;
mod connect;
mod error;
mod events;
mod message;
mod monitor_socket;
mod pending;
mod silent;

pub use client::Qmp;
pub use error::QmpError;
pub use events::{EventQueue, QmpEvent, Timestamp};
pub use pending::PendingAnswer;
