//! What can go wrong when a running lab is looked up.

use crate::host::HostError;
use memtwin_safe_path::SafePathError;
use std::io;
use std::path::PathBuf;

/// Why a lab, or a machine of a name, is not found.
#[derive(Debug, thiserror::Error)]
pub enum RunningLabError {
    /// None is up.
    #[error("{}: no lab is up; `memtwin lab up` starts one", path.display())]
    NotUp {
        /// The folder.
        path: PathBuf,
    },
    /// Another local user may have made what is there.
    #[error(transparent)]
    Planted(#[from] SafePathError),
    /// What it says of its boards can't be read.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A file or socket of the lab.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// No board has this name.
    #[error("no board '{name}' is up; there are: {}", boards.join(", "))]
    NoBoard {
        /// The name.
        name: String,
        /// Those that are up.
        boards: Vec<String>,
    },
    /// The name is not that of a machine.
    #[error(transparent)]
    HostName(HostError),
}

impl RunningLabError {
    /// Whether the name is wrong, and not the lab.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::NoBoard { .. } | Self::HostName(_))
    }
}
