//! What can go wrong, on this side and in the child.

use memtwin_mapping::MapError;
use memtwin_pages::{PageSizeError, RegionError};
use memtwin_stressor::Stressor;
use std::io;

/// Why a process guest can't be made.
#[derive(Debug, thiserror::Error)]
pub enum WriterStartError {
    /// This kernel, or the sandbox that we are in, has no dirty log for processes.
    #[error("the process dirty log: {reason}")]
    NoLog {
        /// What is missing, and the way out.
        reason: String,
    },
    /// A process, or so small a window, can't do what the stressor needs.
    #[error("stressor {stressor}: {reason}")]
    NoStressor {
        /// The stressor.
        stressor: Stressor,
        /// What is missing.
        reason: &'static str,
    },
    /// Nobody would write.
    #[error("0 threads, expected at least 1")]
    NoThreads,
    /// The window is no region.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// The host's page size is none that Memtwin knows.
    #[error(transparent)]
    PageSize(#[from] PageSizeError),
    /// The file for the window is too short.
    #[error("the window's file has {found} bytes, expected at least {expected}")]
    ShortFile {
        /// The window's size in bytes.
        expected: u64,
        /// The file's.
        found: u64,
    },
    /// Memory that the system does not give.
    #[error("{what}: {errno}")]
    Memory {
        /// What was asked for.
        what: String,
        /// What the system said.
        errno: io::Error,
    },
    /// Memory that can't be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The child could not be started.
    #[error("cannot start the writer process {program}: {errno}")]
    Spawn {
        /// What should have been executed.
        program: String,
        /// What the system said.
        errno: io::Error,
    },
    /// The child did not become ready.
    #[error("the writer process did not get ready: {reason}")]
    Child {
        /// What is known of it.
        reason: String,
    },
    /// The dirty log does not work on this window.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl WriterStartError {
    /// Whether it is a lack of this combination, not of the whole undertaking: such a case of a
    /// matrix is skipped, with the reason. [`WriterStartError::NoLog`] is a lack of this host and would
    /// be the same for every case: see [`crate::probe`].
    pub fn is_skip(&self) -> bool {
        matches!(self, Self::NoStressor { .. })
    }

    /// Makes an error of what the system said about memory.
    pub(crate) fn memory<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |errno| Self::Memory { what, errno: errno.into() }
    }
}

/// A request of the dirty log that failed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The kernel refused it.
    #[error("{request}: {errno}")]
    Request {
        /// The request, by its name in the kernel.
        request: &'static str,
        /// What the kernel said.
        errno: io::Error,
    },
    /// The memory is of a kind that can't be write-protected.
    #[error(
        "the window's memory can't be write-protected: its file must be a memfd, or lie on tmpfs or hugetlbfs"
    )]
    NotShared,
    /// The kernel says that it is done with a part of the window, and is not.
    #[error("PAGEMAP_SCAN from {from:#x} to {to:#x} ended at {at:#x}, where it had begun")]
    Stuck {
        /// Where the scan began.
        from: u64,
        /// Where it should have ended.
        to: u64,
        /// Where it did.
        at: u64,
    },
}

impl LogError {
    /// Makes an error of what the kernel said to a request.
    pub(crate) fn of(request: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |errno| Self::Request { request, errno }
    }

    /// The kernel's own number for it, if it is the kernel's.
    pub(crate) fn errno(&self) -> Option<i32> {
        match self {
            Self::Request { errno, .. } => errno.raw_os_error(),
            _ => None,
        }
    }
}

/// Why the child can't do its work. It says so and ends.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    /// Standard input is not the socket that a [`crate::ProcessGuest`] gives it.
    #[error("no task on standard input ({0}): this command is for Memtwin's own use")]
    NoTask(io::Error),
    /// The kernel does not promise to end it with its parent.
    #[error("prctl(PR_SET_PDEATHSIG): {0}")]
    DeathSignal(io::Error),
    /// The parent is gone already.
    #[error("the process that started this one is gone")]
    Orphan,
    /// Memory that can't be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// A thread that can't be started.
    #[error("cannot start writer {writer}: {errno}")]
    Thread {
        /// Its number.
        writer: usize,
        /// What the system said.
        errno: io::Error,
    },
    /// The parent can't be told.
    #[error("cannot answer the process that started this one: {0}")]
    NoAnswer(io::Error),
}
