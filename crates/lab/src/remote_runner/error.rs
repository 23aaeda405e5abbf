//! Why a command of ours on another machine says nothing.

use crate::cross::CrossError;
use crate::host::HostError;
use crate::image::ImageError;
use crate::{CacheError, MachineError};
use serde_json::Value;

/// Why it says nothing.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Memtwin can't be built for the machine.
    #[error(transparent)]
    Cross(#[from] CrossError),
    /// There is no place for what is built.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// There is nothing to boot.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The board does not come up, or dies.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// Another machine is not reached, or does not do as it is told.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A machine that we have no program for.
    #[error("{host}: its architecture is {arch}, and Memtwin is for aarch64 and x86_64")]
    Arch {
        /// The machine.
        host: String,
        /// What it says.
        arch: String,
    },
    /// An argument that can't be given over a console.
    #[error("'{argument}': an argument for a board has no line break and no quotation mark")]
    Argument {
        /// The argument.
        argument: String,
    },
    /// The command on the board has left no record.
    #[error("memtwin on the board returned {rc} and no record{}", crate::command::indented(said))]
    NoRecord {
        /// What it returned.
        rc: i32,
        /// What it said.
        said: Vec<String>,
    },
    /// Not all of its record was legible.
    #[error("of {expected} cases on the board, the records of {came} came whole")]
    Torn {
        /// How many cases there were; `?` if that was not heard.
        expected: String,
        /// How many are known.
        came: usize,
    },
    /// It broke off, and some cases had ended before.
    #[error("{error}")]
    Broken {
        /// Why.
        error: Box<RemoteError>,
        /// The record of the cases that had ended.
        record: Value,
    },
}

impl RemoteError {
    /// The same, of a command of which some cases had ended before.
    pub(super) fn with_record(self, record: Value) -> Self {
        Self::Broken { error: Box::new(self), record }
    }
}
