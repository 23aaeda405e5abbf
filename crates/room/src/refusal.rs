//! What is needed, and the line that says that it is not there.

use crate::MemoryLimit;

/// What somebody is about to take, in bytes. Each is an upper bound.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryNeed<'n> {
    /// What it is for: `the audit's twin of 3 blocks`.
    pub what: &'n str,
    /// Memory that will be touched.
    pub memory: u64,
    /// Address space that will be mapped.
    pub address_space: u64,
    /// How much of that is private memory that can be written.
    pub data: u64,
    /// What the reader can do about it; nothing if nothing would help.
    pub way_out: &'n str,
}

impl<'n> MemoryNeed<'n> {
    /// Nothing yet, for this purpose.
    pub fn of(what: &'n str) -> Self {
        Self { what, ..Self::default() }
    }

    pub(crate) fn refused(&self, bytes: u64, limit: MemoryLimit) -> NoRoom {
        let way_out =
            if self.way_out.is_empty() { String::new() } else { format!("; {}", self.way_out) };
        NoRoom { what: self.what.to_owned(), bytes, limit, way_out }
    }
}

/// There is less room than is needed. Nothing was taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no room for {what}: {} needed, {} available by {}, of which {} stay free{way_out}",
    mebibytes(*bytes), mebibytes(limit.available), limit.source, mebibytes(limit.reserve())
)]
pub struct NoRoom {
    /// What for.
    pub what: String,
    /// How many bytes are needed.
    pub bytes: u64,
    /// The limit that is in the way.
    pub limit: MemoryLimit,
    /// What the reader can do about it, with a separator before it.
    way_out: String,
}

/// A number of bytes in MiB, up to the next whole one.
pub fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
