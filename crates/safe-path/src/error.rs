//! Why a path is not used: what was refused, whose it is, and the way out.

use crate::User;
use std::io;
use std::path::PathBuf;

/// Why a path is not used.
#[derive(Debug, thiserror::Error)]
pub enum SafePathError {
    /// A symbolic link that somebody else can have put there.
    #[error(
        "{}: is a symbolic link of {owner} where others can write, which is not followed; give the path \
         that it leads to, or another", path.display()
    )]
    Link {
        /// The link.
        path: PathBuf,
        /// Whose it is.
        owner: User,
    },
    /// Somebody else's file or directory.
    #[error(
        "{}: belongs to {owner}, expected {}; let its owner or root remove it, or give another \
         path", path.display(), us()
    )]
    NotOurs {
        /// Where.
        path: PathBuf,
        /// Whose it is.
        owner: User,
    },
    /// A file that can be reached, and so changed, by other names.
    #[error(
        "{}: has {links} names (hard links), expected 1; remove this name, or give another path",
        path.display()
    )]
    ManyNames {
        /// Where.
        path: PathBuf,
        /// How many names it has.
        links: u64,
    },
    /// Something that can't be used as it should.
    #[error("{}: expected {expected}, got {got}; give another path", path.display())]
    Kind {
        /// Where.
        path: PathBuf,
        /// What was to be there.
        expected: &'static str,
        /// What is there.
        got: &'static str,
    },
    /// A directory that should be private and to which others have access.
    #[error(
        "{}: has mode {mode:04o}, expected 0700; remove it, or make it private with chmod 700 if all that \
         is in it is yours", path.display()
    )]
    Open {
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A local socket whose other end is somebody else's.
    #[error("{}: at its other end is {owner}, expected {}; end what listens there, and start again", path.display(), us())]
    Peer {
        /// The socket.
        path: PathBuf,
        /// Who is there.
        owner: User,
    },
    /// The system refuses.
    #[error("{doing} {}: {errno}", path.display())]
    Io {
        /// What was to be done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        errno: io::Error,
    },
}

/// Whose what must be ours can be.
fn us() -> String {
    match User::this() {
        root if root.uid() == 0 => root.to_string(),
        user => format!("{user} or root"),
    }
}

impl SafePathError {
    pub(crate) fn io(
        doing: &'static str,
        path: impl Into<PathBuf>,
        errno: impl Into<io::Error>,
    ) -> Self {
        Self::Io { doing, path: path.into(), errno: errno.into() }
    }

    /// What the system said, or the refusal, which has its own way out.
    ///
    /// Errors: it is a refusal.
    pub fn into_errno(self) -> Result<io::Error, Self> {
        match self {
            Self::Io { errno, .. } => Ok(errno),
            refused => Err(refused),
        }
    }

    /// What kind of error the system would have reported: `PermissionDenied` for what was refused here.
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Io { errno, .. } => errno.kind(),
            Self::Kind { got: "a directory", .. } => io::ErrorKind::IsADirectory,
            Self::Kind { .. } => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::PermissionDenied,
        }
    }
}

impl From<SafePathError> for io::Error {
    /// What the system said; or the refusal, of the kind that the system would have reported.
    fn from(error: SafePathError) -> Self {
        match error.into_errno() {
            Ok(errno) => errno,
            Err(refused) => Self::new(refused.kind(), refused),
        }
    }
}
