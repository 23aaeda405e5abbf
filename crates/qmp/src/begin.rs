//! How a client begins: at an address, on what another one has left, on a connection that somebody carries.

use crate::address::{AbstractName, MonitorAddress};
use crate::connect::{Connected, connected};
use crate::events::EventQueue;
use crate::monitor_socket::MonitorSocket;
use crate::route::MonitorRoute;
use crate::{Qmp, QmpError};
use rustix::net::{SocketAddrUnix, getpeername};
use serde::de::IgnoredAny;
use serde_json::json;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many clients this process has had: part of every id, as a socket outlives its client.
static CLIENTS: AtomicU64 = AtomicU64::new(0);

impl Qmp {
    /// Connects to the QMP server at the socket `path` and enters command mode.
    ///
    /// Errors: as [`Qmp::connect_to`].
    pub fn connect(path: &Path, patience: Duration) -> Result<Self, QmpError> {
        Self::connect_to(&path.into(), patience)
    }

    /// Connects to a monitor, wherever it is, and enters command mode.
    ///
    /// `patience` is how long the greeting, and later each answer, may take (a greeting through libvirt a
    /// minute at least). Errors: every [`QmpError`] that says why there is no QMP.
    pub fn connect_to(address: &MonitorAddress, patience: Duration) -> Result<Self, QmpError> {
        let Connected { wire, is_fresh } = connected(address, patience)?;
        let mut qmp = Self::over(wire, patience, MonitorRoute::of(address));
        if is_fresh {
            let _: IgnoredAny = qmp.execute("qmp_capabilities", ())?;
        } else {
            qmp.enter_anew()?;
        }
        Ok(qmp)
    }

    /// The address by which the same monitor can be connected to again: of a connection that was inherited,
    /// where its other end is bound to.
    pub fn way_back(&self, address: &MonitorAddress) -> MonitorAddress {
        match address {
            MonitorAddress::Descriptor(_) => self.bound_to().unwrap_or(address.clone()),
            other => other.absolute(),
        }
    }

    fn bound_to(&self) -> Option<MonitorAddress> {
        let peer = getpeername(self.wire.socket()).ok()??;
        if let Ok(unix) = SocketAddrUnix::try_from(peer.clone()) {
            // An unnamed one reads as an empty name.
            if let Some(name) = unix.abstract_name().filter(|name| !name.is_empty()) {
                let name = AbstractName { name: name.to_vec(), padded: false };
                return Some(MonitorAddress::Abstract(name));
            }
            let path = unix.path().map(|path| path.into_owned())?;
            let path = Path::new(OsStr::from_bytes(path.as_bytes()));
            // A relative one counts from a directory that is not known.
            return path.is_absolute().then(|| path.into());
        }
        let tcp = SocketAddr::try_from(peer).ok()?;
        Some(MonitorAddress::Tcp { host: tcp.ip().to_string(), port: tcp.port() })
    }

    /// Takes over a connection from a client that is gone, wherever it was interrupted: half a
    /// command sent, half an answer read, answers under way.
    ///
    /// Two clients must not use one connection at the same time. Errors: QEMU does not answer.
    pub fn resume_on(socket: OwnedFd, patience: Duration) -> Result<Self, QmpError> {
        let mut qmp = Self::over(MonitorSocket::new(socket), patience, MonitorRoute::Unix);
        qmp.enter_anew()?;
        Ok(qmp)
    }

    fn enter_anew(&mut self) -> Result<(), QmpError> {
        self.torn = true;
        // In command mode it is an unknown command, before it is what is needed: right in both.
        match self.execute::<IgnoredAny>("qmp_capabilities", ()) {
            Ok(_) => Ok(()),
            Err(error) if error.is_unknown_command() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Begins on a connection that is fresh, for commands out of band: see [`Qmp::execute_urgently`].
    ///
    /// Errors: QEMU does not answer, or its monitor has no thread of its own for such commands.
    pub fn urgent_on(socket: OwnedFd, patience: Duration) -> Result<Self, QmpError> {
        let mut qmp = Self::over(MonitorSocket::new(socket), patience, MonitorRoute::Unix);
        // What comes before our answer is the greeting.
        qmp.torn = true;
        let _: IgnoredAny = qmp.execute("qmp_capabilities", json!({ "enable": ["oob"] }))?;
        Ok(qmp)
    }

    fn over(wire: MonitorSocket, patience: Duration, route: MonitorRoute) -> Self {
        let client = CLIENTS.fetch_add(1, Ordering::Relaxed);
        let ours = format!("memtwin-{}-{client}-", std::process::id());
        let events = EventQueue::default();
        Self {
            wire,
            route,
            passes_descriptors: route.may_pass_descriptors(),
            orders_events: route.orders_events(),
            patience,
            events,
            ours,
            commands: 0,
            torn: false,
        }
    }
}
