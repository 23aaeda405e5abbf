//! Why a connection or a session ends: the facts, and a way out, in one line.

use memtwin_replicate::SinkError;
use memtwin_safe_path::SafePathError;
use memtwin_twin::TwinError;
use memtwin_wire::{RefuseCode, WireError};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What went wrong between a sender and a receiver.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// No connection can be obtained.
    #[error("{target}: {cause}; is `memtwin receive` running there?")]
    Connect {
        /// Whom we called.
        target: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    /// The peer closed it.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer says nothing.
    #[error("nothing was heard from the peer for {} s", .0.as_secs())]
    Silent(Duration),
    /// The peer does not take what we send.
    #[error("the peer took nothing for {} s", .0.as_secs())]
    Stuck(Duration),
    /// The peer has not introduced itself in time.
    #[error("the peer did not introduce itself within {} s", .0.as_secs())]
    Late(Duration),
    /// The peer says more than there is to say before its pages.
    #[error("the peer sent more than {most} {what} before its regions were accepted")]
    Excess {
        /// Frames or bytes.
        what: &'static str,
        /// How many there may be.
        most: u64,
    },
    /// The peer sent what is no frame, or not one that fits.
    #[error("from the peer: {0}")]
    Wire(#[from] WireError),
    /// The peer refuses.
    #[error("the peer refuses: {why}")]
    Refused {
        /// Why, for a program.
        code: RefuseCode,
        /// Why, for a person.
        why: String,
    },
    /// A frame came that has no place there.
    #[error("out of order: {0}")]
    Order(String),
    /// Another session than the one that is served.
    #[error("another session is being received here")]
    ForeignSession,
    /// This side can't keep what the peer sends; what was here before is as it was.
    #[error("nothing is kept: {0}")]
    Unkept(Box<RemoteError>),
    /// Why something has ended for good, said to everyone who asks.
    #[error(transparent)]
    Final(Arc<RemoteError>),
    /// The secure channel can't be obtained.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// Too many breaks without a round acknowledged between them.
    #[error("the connection broke {times} times without a round arriving; last: {last}")]
    Hopeless {
        /// How often.
        times: u32,
        /// The last reason.
        last: Box<RemoteError>,
    },
    /// The receiver was not there again in time.
    #[error("no connection for {} s; last: {last}", .waited.as_secs())]
    GaveUp {
        /// How long was tried.
        waited: Duration,
        /// The last reason.
        last: Box<RemoteError>,
    },
    /// A stop was asked for.
    #[error("interrupted")]
    Stopped,
    /// A program can't be started.
    #[error("starting {program}: {cause}")]
    Program {
        /// The program.
        program: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The receiver's file.
    #[error(transparent)]
    Twin(TwinError),
    /// A block device holds rounds that were promised to another sender.
    #[error("{}: holds rounds of another session, whose sender may go on with them; let it, or receive with --force-device to write over them", path.display())]
    DeviceHeld {
        /// The device.
        path: PathBuf,
    },
    /// The receiver can't do something to one of its files.
    #[error("cannot {doing} {}: {errno}", path.display())]
    Disk {
        /// What was to be done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        errno: io::Error,
    },
    /// The path can't be a received twin.
    #[error("{}: {what}; name another path", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A journal is there with rounds that were acknowledged, and not their image.
    #[error("{}: holds rounds up to {round}, which were promised to a sender, of an image that is not {}; put that image back there, or move the journal away", journal.display(), path.display())]
    Orphan {
        /// Where the image should be.
        path: PathBuf,
        /// The journal.
        journal: PathBuf,
        /// Its last round.
        round: u32,
    },
    /// Another local user may have put there what is there.
    #[error(transparent)]
    Planted(SafePathError),
    /// The twin can't fit.
    #[error("{}: needs {needed} bytes, {free} are free{}; free some or name another path", path.display(), .left.as_ref().map_or(String::new(), |left| format!(", and {} is left of an earlier session", left.display())))]
    NoRoom {
        /// The path.
        path: PathBuf,
        /// How many bytes are needed.
        needed: u64,
        /// How many are free.
        free: u64,
        /// A twin that was not kept, whose removal would free some.
        left: Option<PathBuf>,
    },
}

impl RemoteError {
    /// Why a path can't be the twin's.
    pub(crate) fn of_path(error: TwinError) -> Self {
        match error {
            TwinError::Io { path, errno, .. } => Self::Disk { doing: "open", path, errno },
            error => error.into(),
        }
    }
}

impl RemoteError {
    /// Whether a new connection may fare better.
    pub fn may_pass(&self) -> bool {
        match self.root() {
            Self::Connect { .. }
            | Self::Broken(_)
            | Self::Closed
            | Self::Silent(_)
            | Self::Stuck(_)
            | Self::Late(_)
            | Self::Wire(_) => true,
            Self::Refused { code, .. } => code.may_pass(),
            _ => false,
        }
    }

    /// The error itself, however often it was said.
    pub fn root(&self) -> &Self {
        match self {
            Self::Final(error) => error.root(),
            _ => self,
        }
    }

    /// The code with which a peer is told, if it is to be told at all.
    pub(crate) fn code(&self) -> Option<RefuseCode> {
        match self.root() {
            Self::Unkept(error) => error.code(),
            Self::Wire(WireError::Version { .. }) => Some(RefuseCode::Version),
            Self::Wire(_) => Some(RefuseCode::Malformed),
            Self::Order(_) | Self::Excess { .. } | Self::Late(_) => Some(RefuseCode::Order),
            Self::ForeignSession | Self::DeviceHeld { .. } => Some(RefuseCode::ForeignSession),
            Self::NoRoom { .. } | Self::Twin(TwinError::DeviceTooSmall { .. }) => {
                Some(RefuseCode::NoRoom)
            }
            Self::Disk { .. } | Self::Twin(_) => Some(RefuseCode::Disk),
            _ => None,
        }
    }

    /// Of a failure before anything that is here was changed: the peer's session is refused, and the
    /// next one may fare better.
    pub(crate) fn unkept(self) -> Self {
        match self {
            Self::Disk { .. } | Self::Twin(_) => Self::Unkept(Box::new(self)),
            _ => self,
        }
    }

    pub(crate) fn order(what: impl Into<String>) -> Self {
        Self::Order(what.into())
    }
}

impl From<TwinError> for RemoteError {
    fn from(error: TwinError) -> Self {
        match error {
            TwinError::Io { doing, path, errno } => Self::Disk { doing, path, errno },
            TwinError::NotAFile { path, got } => match got {
                "a directory" | "no name" => Self::Path { path, what: "it names no file" },
                "a symbolic link" => {
                    Self::Path { path, what: "it is a symbolic link, which is not followed" }
                }
                _ => Self::Path { path, what: "it is no regular file" },
            },
            TwinError::Refused(refused) => Self::Planted(refused),
            error => Self::Twin(error),
        }
    }
}

impl From<RemoteError> for SinkError {
    fn from(error: RemoteError) -> Self {
        SinkError::new(error)
    }
}
