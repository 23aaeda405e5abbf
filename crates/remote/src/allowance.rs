//! How much a peer may say before it is known.

use crate::RemoteError;
use memtwin_wait::Deadline;
use std::time::Duration;

/// What a peer may say before it is known: this many frames, of this many bytes, within a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerAllowance {
    frames: u64,
    bytes: u64,
    /// The longest body of a frame.
    pub(crate) body: u32,
}

impl PeerAllowance {
    /// For HELLO, or the answer to it, which are short in every version.
    pub(crate) const OPENING: Self = Self { frames: 1, bytes: 4 << 10, body: 4000 };
    /// For LAYOUT, and the signs of life of a sender whose guest is being made.
    pub(crate) const INTRODUCTION: Self =
        Self { frames: 256, bytes: 2 << 20, body: memtwin_wire::MOST_BODY };
}

/// What is left of an allowance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RemainingAllowance {
    of: PeerAllowance,
    frames: u64,
    bytes: u64,
    deadline: Deadline,
    within: Duration,
}

impl RemainingAllowance {
    pub(crate) fn new(of: PeerAllowance, within: Duration) -> Self {
        let deadline = Deadline::after(within);
        Self { of, frames: of.frames, bytes: of.bytes, deadline, within }
    }

    /// The peer has sent so much. Errors if that is more than it may.
    pub(crate) fn take(&mut self, frames: u64, bytes: u64) -> Result<(), RemoteError> {
        let excess = |what, most| RemoteError::Excess { what, most };
        self.frames =
            self.frames.checked_sub(frames).ok_or_else(|| excess("frames", self.of.frames))?;
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(|| excess("bytes", self.of.bytes))?;
        Ok(())
    }

    /// Whether its time is over.
    pub(crate) fn is_over(&self) -> bool {
        self.deadline.is_over()
    }

    /// That its time is over.
    pub(crate) fn late(&self) -> RemoteError {
        RemoteError::Late(self.within)
    }
}
