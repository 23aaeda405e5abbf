//! What can go wrong with a lab.

use crate::cross::CrossError;
use crate::ext4::Ext4Error;
use crate::host::HostError;
use crate::root::RootError;
use crate::{CacheError, CommandError, MachineError};
use memtwin_safe_path::SafePathError;
use std::io;
use std::path::{Path, PathBuf};

/// Why there is no lab.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Boards have nothing to boot.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The cache can't be obtained.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Programs for boards can't be built.
    #[error(transparent)]
    Cross(#[from] CrossError),
    /// The file system of the lab's files can't be made.
    #[error(transparent)]
    Ext4(#[from] Ext4Error),
    /// A program that sets it up failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A folder of programs that were built before lacks one.
    #[error("{}: not there", path.display())]
    NoProgram {
        /// Where it was expected.
        path: PathBuf,
    },
    /// A program is missing.
    #[error("{program} is not installed; on Debian: apt install {package}")]
    Missing {
        /// The program.
        program: &'static str,
        /// Its package.
        package: &'static str,
    },
    /// QEMU is too old.
    #[error(
        "{program} is {found}: boards need {least} or newer; Debian 13 has it, and Debian 12's backports"
    )]
    TooOld {
        /// The program.
        program: &'static str,
        /// Its version.
        found: String,
        /// The oldest that will do.
        least: &'static str,
    },
    /// There is not enough memory.
    #[error(
        "{needed} MiB of memory needed for {boards} boards, {available} available; give them less with --memory, or free some"
    )]
    Memory {
        /// MiB needed.
        needed: u64,
        /// MiB that the system has to give.
        available: u64,
        /// How many boards.
        boards: usize,
    },
    /// A file or socket of the lab.
    #[error("{}: {error}", path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Another local user may have made what is there.
    #[error(transparent)]
    Planted(SafePathError),
    /// Sockets can't have names that are so long.
    #[error("{}: too long a name for the sockets in it; set TMPDIR to a shorter one", path.display())]
    LongPath {
        /// The folder.
        path: PathBuf,
    },
    /// A folder is another lab's.
    #[error("{}: a lab is up there already; `memtwin lab down` ends it", path.display())]
    Taken {
        /// The folder.
        path: PathBuf,
    },
    /// A name that no board can have.
    #[error("'{0}' is no name of a board: letters and digits, 12 at most, and each once")]
    Name(String),
    /// There is no network port to be had.
    #[error("no port on the loopback interface: {0}")]
    NoPort(io::Error),
    /// A board does not come up, or dies.
    #[error("board {name}: {error}")]
    Board {
        /// The name of the board.
        name: String,
        /// What became of it.
        error: MachineError,
    },
    /// A board runs but is not reached.
    #[error("board {name} is up, but ssh does not reach it: {error}")]
    Silent {
        /// The name of the board that is silent.
        name: String,
        /// What became of the attempt.
        error: HostError,
    },
}

impl LabError {
    /// An error about a path.
    pub(super) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File { path, error }
    }

    /// An error about a path that another user may have planted.
    pub(super) fn place(path: &Path) -> impl FnOnce(SafePathError) -> Self {
        let path = path.to_owned();
        move |error| match error.into_errno() {
            Ok(error) => Self::File { path, error },
            Err(refused) => Self::Planted(refused),
        }
    }

    /// An error of a board.
    pub(super) fn board(name: &str, error: MachineError) -> Self {
        Self::Board { name: name.to_owned(), error }
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(
            self,
            Self::Board { error: MachineError::Cancelled, .. }
                | Self::Silent { error: HostError::Cancelled, .. }
                | Self::Cache(CacheError::Cancelled)
                | Self::Command(CommandError::Cancelled)
                | Self::Ext4(Ext4Error::Command(CommandError::Cancelled))
        )
    }
}
