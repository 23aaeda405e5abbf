//! `query-migrate`, typed (`qapi/migration.json`, MigrationInfo).

use memtwin_qmp::{Qmp, QmpError};
use serde::Deserialize;
use std::fmt;

/// Where a migration is (MigrationStatus).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MigrationStatus {
    /// None has been asked for.
    #[default]
    None,
    /// Being set up.
    Setup,
    /// Being cancelled.
    Cancelling,
    /// Cancelled; another may begin.
    Cancelled,
    /// In pre-copy.
    Active,
    /// In postcopy.
    PostcopyActive,
    /// In postcopy, and interrupted.
    PostcopyPaused,
    /// Recovering from that.
    PostcopyRecover,
    /// About to recover from that.
    PostcopyRecoverSetup,
    /// Done; the guest runs elsewhere, or stands still.
    Completed,
    /// Failed; another may begin.
    Failed,
    /// COLO.
    Colo,
    /// Waiting for `migrate-continue` before the last pass.
    PreSwitchover,
    /// The guest stands still, the devices are being sent.
    Device,
    /// Waiting for a device to be unplugged.
    WaitUnplug,
    /// One that we have no name for.
    #[serde(untagged)]
    Other(String),
}

impl MigrationStatus {
    /// Whether a migration is under way, so that no other can begin.
    pub fn is_under_way(&self) -> bool {
        !matches!(self, Self::None | Self::Cancelled | Self::Completed | Self::Failed)
    }
}

impl fmt::Display for MigrationStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Setup => "setup",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
            Self::Active => "active",
            Self::PostcopyActive => "postcopy-active",
            Self::PostcopyPaused => "postcopy-paused",
            Self::PostcopyRecover => "postcopy-recover",
            Self::PostcopyRecoverSetup => "postcopy-recover-setup",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Colo => "colo",
            Self::PreSwitchover => "pre-switchover",
            Self::Device => "device",
            Self::WaitUnplug => "wait-unplug",
            Self::Other(name) => name,
        })
    }
}

/// QEMU's own counters of the RAM it migrates (MigrationStats), bytes and pages since the
/// migration began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct RamCounters {
    /// Bytes sent.
    pub transferred: u64,
    /// Bytes that are dirty.
    pub remaining: u64,
    /// Bytes of RAM.
    pub total: u64,
    /// Pages sent as one byte, as all their bytes are the same.
    pub duplicate: u64,
    /// Pages sent whole.
    pub normal: u64,
    /// The same in bytes.
    pub normal_bytes: u64,
    /// Pages per second that the guest dirtied, over the last period.
    pub dirty_pages_rate: u64,
    /// How often the dirty log was collected.
    pub dirty_sync_count: u64,
    /// Pages per second sent, over the last period.
    pub pages_per_second: u64,
    /// The target's page size in bytes: the unit of the pages above.
    pub page_size: u64,
    /// Megabits per second sent.
    pub mbps: f64,
}

/// The last migration, the current one, or none.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Migration {
    /// Where it is.
    pub status: MigrationStatus,
    /// Its RAM, once that is known.
    pub ram: Option<RamCounters>,
    /// Milliseconds since it began, or that it took.
    pub total_time: Option<u64>,
    /// Milliseconds that the guest stood still, once it is over.
    pub downtime: Option<u64>,
    /// Milliseconds that it would stand still if it were stopped now.
    pub expected_downtime: Option<u64>,
    /// Milliseconds of setting up.
    pub setup_time: Option<u64>,
    /// Why it failed.
    pub error_desc: Option<String>,
    /// Why this guest can't be migrated at all, a reason each; empty if it can, as far as QEMU
    /// knows.
    pub blocked_reasons: Vec<String>,
}

/// Asks for all of it. Errors: as [`Qmp::execute`].
pub fn migration(qmp: &mut Qmp) -> Result<Migration, QmpError> {
    qmp.execute("query-migrate", ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_yet_is_none_and_an_unknown_status_is_kept() {
        let none: Migration = serde_json::from_str("{}").unwrap();
        assert_eq!(none, Migration::default());
        assert!(!none.status.is_under_way());
        let status =
            |text: &str| serde_json::from_str::<MigrationStatus>(&format!("\"{text}\"")).unwrap();
        assert_eq!(status("postcopy-recover-setup"), MigrationStatus::PostcopyRecoverSetup);
        assert_eq!(status("of-tomorrow"), MigrationStatus::Other("of-tomorrow".to_owned()));
        for name in ["none", "active", "pre-switchover", "wait-unplug", "of-tomorrow"] {
            assert_eq!(status(name).to_string(), name);
        }
        assert!(status("of-tomorrow").is_under_way());
    }

    #[test]
    fn a_migration_of_qemu_10() {
        let text = r#"{"expected-downtime": 300, "status": "active", "setup-time": 1,
            "total-time": 80, "ram": {"total": 1, "postcopy-requests": 0, "dirty-sync-count": 3,
            "multifd-bytes": 0, "pages-per-second": 7, "downtime-bytes": 0, "page-size": 4096,
            "remaining": 2, "postcopy-bytes": 0, "mbps": 268.4, "transferred": 5,
            "dirty-sync-missed-zero-copy": 0, "precopy-bytes": 5, "duplicate": 6,
            "dirty-pages-rate": 9, "normal-bytes": 8, "normal": 2}}"#;
        let migration: Migration = serde_json::from_str(text).unwrap();
        let ram = migration.ram.unwrap();
        assert_eq!((ram.dirty_sync_count, ram.dirty_pages_rate, ram.page_size), (3, 9, 4096));
        assert_eq!(migration.total_time, Some(80));
    }
}
