//! Why a twin can't be kept: the facts and a way out, in one line.

use memtwin_mapping::MapError;
use memtwin_replicate::SinkError;
use memtwin_room::{NoRoom, RunningOut};
use memtwin_safe_path::SafePathError;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// What went wrong with a twin.
#[derive(Debug, thiserror::Error)]
pub enum TwinError {
    /// The path names something that is no regular file.
    #[error("{}: expected a regular file or a free name, got {got}; name another path", path.display())]
    NotAFile {
        /// The path as it was given.
        path: PathBuf,
        /// What is there.
        got: &'static str,
    },
    /// Somebody else is writing this twin.
    #[error("{}: in use by another memtwin ({}); wait for its end or name another path", path.display(), process(*pid))]
    InUse {
        /// The twin.
        path: PathBuf,
        /// Who writes it, if its marker says so by now.
        pid: Option<u32>,
    },
    /// A receiver has left a twin here, and rounds of it that it had promised to keep.
    #[error("{}: a receiver's twin, with rounds in {}; start `memtwin receive` there for its sender to go on, or move both away", path.display(), journal.display())]
    Received {
        /// The twin.
        path: PathBuf,
        /// The receiver's journal.
        journal: PathBuf,
    },
    /// A file that is not ours has the name that the marker needs.
    #[error("{}: expected a marker of memtwin, got another file; move it away", path.display())]
    NotAMarker {
        /// The marker's path.
        path: PathBuf,
    },
    /// The file system can't hold the twin.
    #[error("{}: needs {needed} bytes beside what is there, {free} are free; free some or name another path", path.display())]
    NoSpace {
        /// The twin.
        path: PathBuf,
        /// How many bytes it needs.
        needed: u64,
        /// How many bytes are free.
        free: u64,
    },
    /// The block device is not ours alone.
    #[error("{}: in use: mounted, a part of a volume or RAID, or another program's; unmount it or name another", path.display())]
    DeviceInUse {
        /// The device.
        path: PathBuf,
    },
    /// The block device holds something that we have not written.
    #[error("{}: holds {found}; name another, or give --force-device to write over it", path.display())]
    DeviceHolds {
        /// The device.
        path: PathBuf,
        /// What it looks like.
        found: &'static str,
    },
    /// The block device holds a twin of which a receiver has promised to keep rounds.
    #[error("{}: a receiver's twin, with rounds in {}; start `memtwin receive` there for its sender to go on, or give --force-device to write over it", path.display(), journal.display())]
    ReceivedOnDevice {
        /// The device.
        path: PathBuf,
        /// The receiver's journal.
        journal: PathBuf,
    },
    /// The block device can't hold the twin.
    #[error("{}: needs a device of {needed} bytes with the twin's state, got {got}; name a larger one", path.display())]
    DeviceTooSmall {
        /// The device.
        path: PathBuf,
        /// How many bytes it needs, with those for its state.
        needed: u64,
        /// How many bytes the device has.
        got: u64,
    },
    /// A block device holds one region, and the twin has more.
    #[error("{}: a block device holds one region, the twin has {got}; name a file or a directory, or send one region alone (of a QEMU: --block NAME)", path.display())]
    DeviceOfRegions {
        /// The device.
        path: PathBuf,
        /// How many regions the twin has.
        got: usize,
    },
    /// A twin of several regions is a directory, and this is a device.
    #[error("{}: a twin of several regions needs a directory, got a block device; name a directory, or one region with --block NAME", path.display())]
    NeedsDirectory {
        /// The device.
        path: PathBuf,
    },
    /// Pages may be smaller than what a disk writes as a whole.
    #[error("{}: a twin of {bytes} bytes, expected a multiple of {}: a disk writes no less as a whole; replicate regions of whole sectors", path.display(), crate::trailer::SECTOR)]
    NotWholeSectors {
        /// The twin.
        path: PathBuf,
        /// The bytes of all regions.
        bytes: u64,
    },
    /// There is nowhere to keep the journal of a twin on a block device.
    #[error(
        "no directory for the journal of a twin on a block device: set XDG_STATE_HOME or HOME to a directory of yours"
    )]
    NoStateDirectory,
    /// The twin's file is shorter than the twin.
    #[error("{}: expected {expected} bytes, got {got}; something else has shortened the twin, start again", path.display())]
    Shortened {
        /// The twin.
        path: PathBuf,
        /// How many bytes the regions have.
        expected: u64,
        /// How many bytes the file has.
        got: u64,
    },
    /// Another file is where the twin was, or none.
    #[error("{}: something else has removed or replaced the twin while it was written; start again", path.display())]
    Replaced {
        /// The twin.
        path: PathBuf,
    },
    /// The twin in memory can't be opened again for its judge.
    #[error("cannot reopen the twin in memory by /proc/self/fd: {errno}; mount /proc")]
    NotReopened {
        /// What the system said.
        errno: io::Error,
    },
    /// A call that makes no sense at this moment of a twin's life: a bug of the caller.
    #[error("{}: {what}", path.display())]
    Order {
        /// The twin.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// The twin's file could not be mapped.
    #[error("{}: {error}", path.display())]
    Map {
        /// The twin.
        path: PathBuf,
        /// Why.
        error: MapError,
    },
    /// It would be memory, and there is not enough.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// Memory runs out while it is written.
    #[error(transparent)]
    RunningOut(#[from] RunningOut),
    /// Another local user may have put there what is there.
    #[error(transparent)]
    Refused(SafePathError),
    /// The operating system refused something.
    #[error("cannot {doing} {}: {errno}{}", path.display(), way_out(errno))]
    Io {
        /// What was to be done to the path.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        errno: io::Error,
    },
}

impl TwinError {
    /// Whether the way out is another option on the command line.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::DeviceHolds { .. } | Self::ReceivedOnDevice { .. })
    }

    pub(crate) fn io(doing: &'static str, path: &Path, errno: impl Into<io::Error>) -> Self {
        Self::Io { doing, path: path.to_owned(), errno: errno.into() }
    }
}

impl From<SafePathError> for TwinError {
    fn from(error: SafePathError) -> Self {
        match error {
            SafePathError::Io { doing, path, errno } => Self::Io { doing, path, errno },
            SafePathError::Kind { path, got, .. } => Self::NotAFile { path, got },
            refused => Self::Refused(refused),
        }
    }
}

impl From<TwinError> for SinkError {
    fn from(error: TwinError) -> Self {
        SinkError::new(error)
    }
}

fn process(pid: Option<u32>) -> String {
    pid.map_or_else(|| "which is just starting".to_owned(), |pid| format!("pid {pid}"))
}

fn way_out(errno: &io::Error) -> &'static str {
    match errno.kind() {
        ErrorKind::NotFound => "; make the directory first or name another path",
        ErrorKind::PermissionDenied => "; name a path that you may write to",
        ErrorKind::ReadOnlyFilesystem => "; name a path on a writable file system",
        ErrorKind::StorageFull => "; free some space or name another path",
        ErrorKind::QuotaExceeded => "; free some of your quota or name another path",
        ErrorKind::FileTooLarge => "; raise the file size limit (ulimit -f) or name another path",
        _ => "",
    }
}
