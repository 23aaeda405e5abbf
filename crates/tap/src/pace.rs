//! How fast QEMU goes: its bandwidth and when it looks at its dirty log again, by its migration
//! parameters.
//!
//! QEMU collects its log again when what is pending would be sent in `downtime-limit` at
//! `avail-switchover-bandwidth` (`migration_update_counters()` in migration/migration.c), so the
//! two together are a threshold in bytes. The bandwidth is a budget for each tenth of a second:
//! after one section QEMU sleeps if it is used up.

use memtwin_qemu::{Settings, SettingsError};
use memtwin_qmp::Qmp;

/// Far above what any machine can send, and far below where QEMU's arithmetic ends.
const UNLIMITED: u64 = 1 << 40;

/// What a link is taken to carry in the last pass, in bytes a second: a socket on this machine.
const LOCAL: u64 = 1 << 30;

/// The longest limit that QEMU takes, in milliseconds: 2,000 s.
const NO_LIMIT: u64 = 2_000_000;

/// How fast QEMU goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Hardly at all: one section each tenth of a second.
    Held,
    /// As fast as it can.
    Full,
    /// As fast as it can, and it may end if the guest stands still no longer than in a usual
    /// migration (300 ms).
    MayEnd,
    /// As fast as it can, and it may end however much is pending.
    MustEnd,
}

impl Pace {
    /// The parameters. `page_bytes` is the target's page size: at [`Pace::Held`] and
    /// [`Pace::Full`] the log is collected when one page or none is pending.
    pub(crate) fn settings(self, page_bytes: u32) -> Settings {
        // A byte more than a page in a millisecond.
        let page_a_ms = (u64::from(page_bytes) + 1) * 1000;
        let (bandwidth, available, limit) = match self {
            Self::Held => (10, page_a_ms, 1),
            Self::Full => (UNLIMITED, page_a_ms, 1),
            Self::MayEnd => (UNLIMITED, LOCAL, 300),
            Self::MustEnd => (UNLIMITED, LOCAL, NO_LIMIT),
        };
        Settings::new()
            .parameter("max-bandwidth", bandwidth)
            .parameter("avail-switchover-bandwidth", available)
            .parameter("downtime-limit", limit)
    }

    /// Makes QEMU go at this pace. It takes effect in a tenth of a second.
    pub(crate) fn set(self, qmp: &mut Qmp, page_bytes: u32) -> Result<(), SettingsError> {
        let parameters = self.settings(page_bytes).parameters;
        Ok(memtwin_qemu::set_parameters(qmp, &parameters)?)
    }
}
