//! How fast QEMU goes: its bandwidth and when it looks at its dirty log again, by its migration
//! parameters.
//!
//! QEMU collects its log again when what is pending would be sent in `downtime-limit` at
//! `avail-switchover-bandwidth` (`migration_update_counters()` in migration/migration.c), so the
//! two together are a threshold in bytes. The bandwidth is a budget for each tenth of a second:
//! after one section QEMU sleeps if it is used up.

use memtwin_qemu::{QemuSettings, SettingsError};
use memtwin_qmp::Qmp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Far above what any machine can send, and far below where QEMU's arithmetic ends; and a number that nobody
/// else is likely to set.
const UNLIMITED: u64 = (1 << 40) + 7;

/// In bytes a second: QEMU sends a section each tenth of a second.
const HARDLY: u64 = 10;

/// What a link is taken to carry in the last pass, in bytes a second: a socket on this machine.
const LOCAL: u64 = (1 << 30) + 7;

/// The longest limit that QEMU takes, in milliseconds: 2,000 s.
const NO_LIMIT: u64 = 2_000_000;

/// What of the pause is the last pass's at first, and if the guest is too busy for that: parts of it.
const SMALL_PART: u32 = 4;
const LARGE_PART: u32 = 2;

/// The same of a migration of which nothing is known yet, derived from a held one by who looks on.
const HARDLY_YET: u64 = 11;

/// How fast QEMU goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Throttle {
    /// Hardly at all, until it is seen that the migration is as it must be.
    Opening,
    /// Hardly at all: one section each tenth of a second.
    Held,
    /// As fast as it can.
    Full,
    /// As fast as it can, and it may end when its last pass takes a small part of this pause.
    MayEnd(Duration),
    /// The same with a larger part.
    MustEnd(Duration),
}

impl Throttle {
    /// The parameters. `page_bytes` is the target's page size: at [`Throttle::Held`] and
    /// [`Throttle::Full`] the log is collected when one page or none is pending.
    pub(crate) fn settings(self, page_bytes: u32) -> QemuSettings {
        let page = page_a_millisecond(page_bytes);
        let (bandwidth, available, limit) = match self {
            Self::Opening => (HARDLY_YET, page, 1),
            Self::Held => (HARDLY, page, 1),
            Self::Full => (UNLIMITED, page, 1),
            Self::MayEnd(pause) => (UNLIMITED, LOCAL, part(pause, SMALL_PART)),
            Self::MustEnd(pause) => (UNLIMITED, LOCAL, part(pause, LARGE_PART)),
        };
        QemuSettings::new()
            .parameter("max-bandwidth", bandwidth)
            .parameter("avail-switchover-bandwidth", available)
            .parameter("downtime-limit", limit)
    }

    /// Makes QEMU go at this speed. It takes effect in a tenth of a second.
    pub(crate) fn set(self, qmp: &mut Qmp, page_bytes: u32) -> Result<(), SettingsError> {
        let parameters = self.settings(page_bytes).parameters;
        Ok(memtwin_qemu::set_parameters(qmp, &parameters)?)
    }

    /// Every value that we give these parameters in a tap whose pause is bounded so: by them our own
    /// settings are known from those that somebody else has made meanwhile.
    pub(crate) fn all_values(pause: Duration) -> BTreeMap<String, Vec<Value>> {
        let mut values: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        let every =
            [Self::Opening, Self::Held, Self::Full, Self::MayEnd(pause), Self::MustEnd(pause)];
        // Targets have pages of 256 bytes to 64 KiB; which, the stream says later.
        for (throttle, shift) in every.into_iter().flat_map(|it| (8..=16).map(move |s| (it, s))) {
            for (name, value) in throttle.settings(1 << shift).parameters {
                let known = values.entry(name).or_default();
                if !known.contains(&value) {
                    known.push(value);
                }
            }
        }
        values
    }
}

/// In bytes a second: a byte more than a page in a millisecond.
fn page_a_millisecond(page_bytes: u32) -> u64 {
    (u64::from(page_bytes) + 1) * 1000
}

/// In milliseconds, as QEMU takes it.
fn part(pause: Duration, of: u32) -> u64 {
    u64::try_from((pause / of).as_millis()).unwrap_or(NO_LIMIT).clamp(1, NO_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_values_are_known_and_no_others() {
        let pause = Duration::from_millis(250);
        let all = Throttle::all_values(pause);
        for throttle in [Throttle::Held, Throttle::Full, Throttle::MustEnd(pause)] {
            for (name, value) in throttle.settings(4096).parameters {
                assert!(all[&name].contains(&value), "{name} {value}");
            }
        }
        assert!(!all["max-bandwidth"].contains(&Value::from(128 << 20)));
        assert!(!all["downtime-limit"].contains(&Value::from(300)));
        assert_eq!(part(Duration::from_millis(1), 4), 1);
        assert_eq!(part(Duration::MAX, 4), NO_LIMIT);
    }
}
