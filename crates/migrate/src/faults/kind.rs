//! What is broken on purpose, for how long, and when; so that one may see beforehand what becomes of a guest.

use std::fmt;
use std::time::Duration;

/// What can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The cable of the board to which the guest moves.
    Link,
    /// The NFS server that has the guest's disk.
    Nfs,
}

/// A fault of a migration's surroundings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MigrationFault {
    /// What breaks.
    pub what: FaultKind,
    /// For how long; without, until the move is over.
    pub lasts: Option<Duration>,
    /// In which hop, once something was sent; 0: before the first one, while the guest works.
    pub hop: u16,
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Link => "the destination's link is cut",
            Self::Nfs => "the NFS server is stopped",
        })
    }
}

impl fmt::Display for MigrationFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.what)?;
        match self.hop {
            0 => f.write_str("while the guest works"),
            1 => f.write_str("amid the move"),
            hop => write!(f, "amid hop {hop}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_says_what_breaks_and_when() {
        let fault = |what, hop| MigrationFault { what, lasts: None, hop }.to_string();
        assert_eq!(fault(FaultKind::Nfs, 0), "the NFS server is stopped while the guest works");
        assert_eq!(fault(FaultKind::Link, 2), "the destination's link is cut amid hop 2");
    }
}
