//! How far a stream has come.

/// How far a stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamPhase {
    /// Nothing, or not all of the magic, the version and the machine type.
    Header,
    /// Before the list of blocks is complete.
    Setup,
    /// Pages come, and the guest may run.
    PreCopy,
    /// In the last section of RAM: the guest stands still.
    LastPass,
    /// The last section of RAM is closed, its footer checked: memory is complete. What follows is
    /// the devices' state, which has no lengths; it is counted and not looked at.
    RamEnded,
}

impl StreamPhase {
    pub(crate) fn place(self) -> &'static str {
        match self {
            Self::Header => "in its header",
            Self::Setup => "before the list of blocks",
            Self::PreCopy => "in pre-copy",
            Self::LastPass => "in the last pass",
            Self::RamEnded => "after the end of RAM",
        }
    }
}
