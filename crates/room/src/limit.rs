//! One of the limits of a process.

/// How much of what a limit allows is left alone, at most and in parts of it: for the kernel, for
/// the others below the same limit, and for what was not foreseen.
const RESERVE: u64 = 256 << 20;
const RESERVE_PART: u64 = 20;

/// One of the limits of a process, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// How much can still be taken.
    pub available: u64,
    /// How much it allows in all.
    pub total: u64,
    /// Where it comes from, in words.
    pub source: String,
}

impl MemoryLimit {
    /// How much of it is to be left alone: 5 %, or 256 MiB if that is less.
    pub fn reserve(&self) -> u64 {
        RESERVE.min(self.total / RESERVE_PART)
    }

    /// How much can be taken so that the reserve stays.
    pub fn spendable(&self) -> u64 {
        self.available.saturating_sub(self.reserve())
    }
}
