//! The ways in which the log can be asked, and which of them a host offers.

use crate::{LogError, ioctl};
use kvm_bindings::{
    KVM_CAP_DIRTY_LOG_RING, KVM_CAP_DIRTY_LOG_RING_ACQ_REL, KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP,
    KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, kvm_dirty_gfn,
};
use std::fmt;
use std::os::fd::BorrowedFd;
use std::str::FromStr;

/// KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET.
const MANUAL_PROTECT_FLAGS: u32 = 3;

/// A way in which the log is asked.
///
/// Wherever modes differ, all are matched: a new one does not compile until every such place has
/// decided. So a mode can't be compared, which would leave the others out in silence:
///
/// ```compile_fail,E0369
/// # use memtwin_kvm::Mode;
/// fn needs_a_probe(mode: Mode) -> bool {
///     mode == Mode::Ring
/// }
/// ```
///
/// and a match that leaves one out is refused as well:
///
/// ```compile_fail,E0004
/// # use memtwin_kvm::Mode;
/// fn needs_a_probe(mode: Mode) -> bool {
///     match mode {
///         Mode::Get | Mode::Clear => false,
///     }
/// }
/// ```
///
/// The same with all of them compiles:
///
/// ```
/// # use memtwin_kvm::{LogStorage, Mode};
/// fn needs_a_probe(mode: Mode) -> bool {
///     match mode.storage() {
///         LogStorage::Bitmap => false,
///         LogStorage::Rings => true,
///     }
/// }
/// assert!(needs_a_probe(Mode::Ring) && !needs_a_probe(Mode::Clear));
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Mode {
    /// KVM_GET_DIRTY_LOG alone: getting clears, and write-protects again.
    Get,
    /// Manual protect, with both flags: KVM_GET_DIRTY_LOG, then KVM_CLEAR_DIRTY_LOG.
    Clear,
    /// A ring of page numbers for each vCPU, harvested and reset.
    Ring,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Get, Self::Clear, Self::Ring];

    /// Its name, as on the command line and in case names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Clear => "clear",
            Self::Ring => "ring",
        }
    }

    /// Where the log is kept until it is collected.
    pub const fn storage(self) -> LogStorage {
        match self {
            Self::Get | Self::Clear => LogStorage::Bitmap,
            Self::Ring => LogStorage::Rings,
        }
    }
}

/// Where the log is kept until it is collected. It decides what must be tried before a twin can
/// earn a pass, so it can't be compared either.
#[derive(Clone, Copy, Debug)]
pub enum LogStorage {
    /// A bit for each page: there is always room for the next.
    Bitmap,
    /// A ring for each vCPU: one that is full must stop its vCPU, or entries are lost. A host whose
    /// rings overflow gives no sound log, even where the twin happens to be identical.
    Rings,
}

impl LogStorage {
    /// Whether entries can be lost when there are too many at a time.
    pub const fn can_overflow(self) -> bool {
        match self {
            Self::Bitmap => false,
            Self::Rings => true,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that no mode has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown mode '{0}': expected get, clear or ring")]
pub struct UnknownMode(String);

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(name: &str) -> Result<Self, UnknownMode> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.name() == name)
            .ok_or_else(|| UnknownMode(name.to_owned()))
    }
}

/// What this host's KVM offers for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogCapabilities {
    /// The flags of manual protect that can be obtained.
    manual_protect: u32,
    /// The capability under which the ring can be obtained, and its largest size in entries.
    ring: Option<(u32, u32)>,
    /// Whether the ring comes with a backup bitmap for writes outside any vCPU.
    ring_bitmap: bool,
}

impl LogCapabilities {
    /// Asks a machine (or, for what all machines have, the system's /dev/kvm).
    pub fn by(kvm: BorrowedFd<'_>) -> Self {
        // With acquire and release spelt out it is the same ring; arm64 has only that one.
        let ring = [KVM_CAP_DIRTY_LOG_RING_ACQ_REL, KVM_CAP_DIRTY_LOG_RING]
            .into_iter()
            .map(|capability| (capability, ioctl::check_extension(kvm, capability)))
            .find(|&(_, bytes)| bytes > 0)
            .map(|(capability, bytes)| (capability, bytes / size_of::<kvm_dirty_gfn>() as u32));
        Self {
            manual_protect: ioctl::check_extension(kvm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2),
            ring,
            ring_bitmap: ioctl::check_extension(kvm, KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP) > 0,
        }
    }

    /// Whether a mode can be obtained; if not, why.
    pub fn has(&self, mode: Mode) -> Result<(), String> {
        match mode {
            Mode::Get => Ok(()),
            Mode::Clear if self.manual_protect == MANUAL_PROTECT_FLAGS => Ok(()),
            Mode::Clear => Err(format!(
                "this KVM's KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 is {}, expected {MANUAL_PROTECT_FLAGS} (Linux 5.7 or newer)",
                self.manual_protect
            )),
            Mode::Ring if self.ring.is_some() => Ok(()),
            Mode::Ring => {
                Err("this KVM has no dirty ring (x86: Linux 5.11, arm64: 6.3 or newer)".to_owned())
            }
        }
    }

    /// Whether the ring is backed by a bitmap, which must be collected as well.
    pub fn ring_bitmap(&self) -> bool {
        self.ring_bitmap
    }

    /// How many entries a vCPU's ring may have at most; `None` without a ring.
    pub fn ring_entries_max(&self) -> Option<u32> {
        self.ring.map(|(_, entries)| entries)
    }

    /// The flags of manual protect that can be obtained; 0: none.
    pub fn manual_protect(&self) -> u32 {
        self.manual_protect
    }

    /// Prepares a new machine for a mode: before any memslot and any vCPU.
    ///
    /// `ring_entries` is the size of each vCPU's ring, a power of two.
    pub fn enable(
        &self,
        vm: BorrowedFd<'_>,
        mode: Mode,
        ring_entries: u32,
    ) -> Result<(), LogError> {
        match (mode, self.ring) {
            (Mode::Get, _) => Ok(()),
            (Mode::Clear, _) => ioctl::enable_cap(
                vm,
                "KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2",
                KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
                u64::from(MANUAL_PROTECT_FLAGS),
            ),
            (Mode::Ring, ring) => {
                let (capability, most) = ring.unwrap_or((KVM_CAP_DIRTY_LOG_RING_ACQ_REL, 0));
                let bytes = ring_entries.min(most.max(1)) as usize * size_of::<kvm_dirty_gfn>();
                ioctl::enable_cap(vm, "KVM_CAP_DIRTY_LOG_RING", capability, bytes as u64)?;
                if self.ring_bitmap {
                    ioctl::enable_cap(
                        vm,
                        "KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP",
                        KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP,
                        0,
                    )?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        for mode in Mode::ALL {
            assert_eq!(mode.name().parse::<Mode>().unwrap().name(), mode.name());
        }
        let error = "rings".parse::<Mode>().unwrap_err();
        assert_eq!(error.to_string(), "unknown mode 'rings': expected get, clear or ring");
    }

    #[test]
    fn a_kernel_without_a_mode_says_so() {
        let old = LogCapabilities { manual_protect: 0, ring: None, ring_bitmap: false };
        assert_eq!(old.has(Mode::Get), Ok(()));
        assert!(old.has(Mode::Clear).unwrap_err().contains("is 0, expected 3"));
        assert!(old.has(Mode::Ring).unwrap_err().contains("no dirty ring"));
    }
}
