//! How a client begins: on a path, on what another one has left, on a connection that somebody carries.

use crate::connect::greeted;
use crate::events::EventQueue;
use crate::monitor_socket::MonitorSocket;
use crate::{Qmp, QmpError};
use serde::de::IgnoredAny;
use serde_json::json;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many clients this process has had: part of every id, as a socket outlives its client.
static CLIENTS: AtomicU64 = AtomicU64::new(0);

impl Qmp {
    /// Connects to the QMP server at `path` and enters command mode.
    ///
    /// `patience` is how long the greeting, and later each answer, may take. Errors: every
    /// [`QmpError`] that says why there is no QMP behind `path`.
    pub fn connect(path: &Path, patience: Duration) -> Result<Self, QmpError> {
        let mut qmp = Self::over(greeted(path, patience)?, patience);
        let _: IgnoredAny = qmp.execute("qmp_capabilities", ())?;
        Ok(qmp)
    }

    /// Takes over a connection from a client that is gone, wherever it was interrupted: half a
    /// command sent, half an answer read, answers under way.
    ///
    /// Two clients must not use one connection at the same time. Errors: QEMU does not answer.
    pub fn resume_on(socket: OwnedFd, patience: Duration) -> Result<Self, QmpError> {
        let mut qmp = Self::over(MonitorSocket::new(socket), patience);
        qmp.torn = true;
        // In command mode it is an unknown command, before it is what is needed: right in both.
        match qmp.execute::<IgnoredAny>("qmp_capabilities", ()) {
            Ok(_) => Ok(qmp),
            Err(error) if error.is_unknown_command() => Ok(qmp),
            Err(error) => Err(error),
        }
    }

    /// Begins on a connection that is fresh, for commands out of band: see [`Qmp::execute_urgently`].
    ///
    /// Errors: QEMU does not answer, or its monitor has no thread of its own for such commands.
    pub fn urgent_on(socket: OwnedFd, patience: Duration) -> Result<Self, QmpError> {
        let mut qmp = Self::over(MonitorSocket::new(socket), patience);
        // What comes before our answer is the greeting.
        qmp.torn = true;
        let _: IgnoredAny = qmp.execute("qmp_capabilities", json!({ "enable": ["oob"] }))?;
        Ok(qmp)
    }

    fn over(wire: MonitorSocket, patience: Duration) -> Self {
        let client = CLIENTS.fetch_add(1, Ordering::Relaxed);
        let ours = format!("memtwin-{}-{client}-", std::process::id());
        Self { wire, patience, events: EventQueue::default(), ours, commands: 0, torn: false }
    }
}
