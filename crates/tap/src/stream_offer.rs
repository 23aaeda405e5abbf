//! How QEMU's stream comes to us: by a socket whose other end was given to it (`migrate fd:`), or, where no
//! descriptor passes, by a socket of ours to which it connects (`migrate unix:`).

use crate::error::OpenError;
use crate::opening::why;
use crate::reader::StreamReader;
use crate::socket::StreamSocket;
use memtwin_qemu::{CallbackSocket, migration};
use memtwin_qmp::{Qmp, QmpError};
use serde_json::{Value, json};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// What QEMU calls the socket that it is given.
const SOCKET_NAME: &str = "memtwin-tap";
/// How long QEMU may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The way on which QEMU's stream comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamPath {
    /// A descriptor is given to QEMU over its monitor.
    Descriptor,
    /// QEMU connects to a socket of ours: nothing that goes over its monitor carries descriptors.
    Socket,
}

/// What QEMU is to migrate into.
#[derive(Debug)]
pub(crate) enum StreamOffer {
    Descriptor(OwnedFd),
    Socket { callback: CallbackSocket, pid: u32, ours: StreamSocket },
}

impl StreamOffer {
    /// Our end, which is QEMU's to connect to on the way by a socket, and what is offered to this process.
    pub(crate) fn new(path: StreamPath, pid: u32) -> io::Result<(StreamSocket, Self)> {
        match path {
            StreamPath::Descriptor => {
                let (ours, theirs) = StreamSocket::pair()?;
                Ok((ours, Self::Descriptor(theirs)))
            }
            StreamPath::Socket => {
                let ours = StreamSocket::awaited()?;
                let callback = CallbackSocket::new(pid)?;
                Ok((ours.clone(), Self::Socket { callback, pid, ours }))
            }
        }
    }

    /// Has QEMU begin. `reader` starts to read our end; `connected` hands it to the guardian, where it was
    /// not known before.
    ///
    /// Errors: QEMU refuses, or does not come.
    pub(crate) fn migrate(
        self,
        qmp: &mut Qmp,
        reader: impl FnOnce() -> io::Result<StreamReader>,
        connected: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>,
    ) -> Result<StreamReader, OpenError> {
        let thread = |errno| OpenError::System { what: "a thread for the stream", errno };
        match self {
            Self::Descriptor(theirs) => {
                // Before the first byte: QEMU never waits for us.
                let reader = reader().map_err(thread)?;
                qmp.send_fd(SOCKET_NAME, theirs.as_fd())?;
                drop(theirs);
                begin(qmp, &format!("fd:{SOCKET_NAME}")).inspect_err(|error| {
                    if matches!(error, OpenError::Blocked { .. }) {
                        // It was not taken, and would lie there until the monitor's client goes.
                        let name = json!({ "fdname": SOCKET_NAME });
                        let _: Result<Value, _> = qmp.execute("closefd", name);
                    }
                })?;
                Ok(reader)
            }
            Self::Socket { callback, pid, ours } => {
                begin(qmp, &format!("unix:{}", callback.path().display()))?;
                let stream = arrival(qmp, &callback, pid)?;
                // The guardian first: from here on it can end the stream as well.
                connected(stream.as_fd())
                    .map_err(|errno| OpenError::System { what: "the guardian process", errno })?;
                ours.connect(stream);
                reader().map_err(thread)
            }
        }
    }
}

fn begin(qmp: &mut Qmp, uri: &str) -> Result<(), OpenError> {
    let begun: Result<Value, QmpError> = qmp.execute("migrate", json!({ "uri": uri }));
    match begun {
        Ok(_) => Ok(()),
        // A blocker that shows only now.
        Err(QmpError::Refused { desc, .. }) => Err(OpenError::Blocked { reasons: vec![desc] }),
        Err(error) => Err(error.into()),
    }
}

/// QEMU's connection, and nobody else's: the kernel says who has made it.
fn arrival(qmp: &mut Qmp, callback: &CallbackSocket, pid: u32) -> Result<OwnedFd, OpenError> {
    let since = Instant::now();
    let system = |errno| OpenError::System { what: "a socket for the stream", errno };
    let mut other = None;
    while since.elapsed() < CONNECT_TIMEOUT {
        match callback.accept(POLL_INTERVAL).map_err(system)? {
            Some((stream, who)) if who == Some(pid) => return Ok(stream),
            Some((_, who)) => other = Some(who),
            None if other.is_some() => break,
            None if !migration(qmp)?.status.is_under_way() => {
                return Err(OpenError::Ended { reason: why(qmp) });
            }
            None => {}
        }
    }
    match other {
        Some(who) => {
            let who = who.map_or("one that is not seen here".to_owned(), |pid| pid.to_string());
            Err(OpenError::OtherProcess { pid, who })
        }
        None => Err(OpenError::Silent { seconds: CONNECT_TIMEOUT.as_secs() }),
    }
}
