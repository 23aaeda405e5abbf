//! How fast QEMU goes: its bandwidth and when it looks at its dirty log again, by its migration
//! parameters.
//!
//! QEMU collects its log again when what is pending would be sent in `downtime-limit` at
//! `avail-switchover-bandwidth` (`migration_update_counters()` in migration/migration.c), so the
//! two together are a threshold in bytes. The bandwidth is a budget for each tenth of a second:
//! after one section QEMU sleeps if it is used up.

use memtwin_qemu::QemuSettings;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Far above what any machine can send, and far below where QEMU's arithmetic ends; and a number that nobody
/// else is likely to set.
const UNLIMITED: u64 = (1 << 40) + 7;

/// In bytes a second: QEMU sends a section each tenth of a second.
const HARDLY: u64 = 10;

/// The same for a QEMU that goes by what it has sent lately: it looks at its log only when that is at least a
/// byte a millisecond, so it sends some empty sections each tenth of a second.
const BARELY: u64 = 2003;

/// What a link is taken to carry in the last pass, in bytes a second: a socket on this machine.
const LOCAL: u64 = (1 << 30) + 7;

/// The longest limit that QEMU takes, in milliseconds: 2,000 s.
const NO_LIMIT: u64 = 2_000_000;

/// What of the pause is the last pass's at first, and if the guest is too busy for that: parts of it.
const SMALL_PART: u32 = 4;
const LARGE_PART: u32 = 2;

/// The same of a migration of which nothing is known yet, derived from a held one by who looks on.
const HARDLY_YET: u64 = 11;

/// What decides how fast a QEMU goes, beside what it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// The target's page size in bytes.
    pub(crate) page_bytes: u32,
    /// Whether it can be told what a link carries (`avail-switchover-bandwidth`, QEMU 8.2): if not, it takes
    /// what it has sent lately for that.
    pub(crate) is_told: bool,
    /// How many bytes are pending for the sake of the hold, whatever the guest does.
    pub(crate) held_bytes: u64,
    /// How many bytes a millisecond it has sent lately; 0 if that is not known.
    pub(crate) sent_lately: u64,
}

/// How fast QEMU goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Throttle {
    /// Hardly at all, until it is seen that the migration is as it must be.
    Opening,
    /// Hardly at all: one section each tenth of a second.
    Held,
    /// As fast as it can.
    Full,
    /// As fast as it can, and if nothing held it, it would end with as much to send as at
    /// [`Throttle::MustEnd`]. Where what is pending is what holds it, that is as at [`Throttle::Full`].
    Tempted(Duration),
    /// As fast as it can, and it may end when its last pass takes a small part of this pause.
    MayEnd(Duration),
    /// The same with a larger part.
    MustEnd(Duration),
}

impl Throttle {
    /// The parameters. At [`Throttle::Held`] and [`Throttle::Full`] the log is collected when one page or none
    /// is pending; of a QEMU that can't be told what a link carries, when what it sends in a millisecond is.
    pub(crate) fn settings(self, pace: &Pace) -> QemuSettings {
        let (bandwidth, available, limit) = self.bandwidth_and_limit(pace);
        let settings = QemuSettings::new()
            .parameter("max-bandwidth", bandwidth)
            .parameter("downtime-limit", limit);
        match pace.is_told {
            true => settings.parameter("avail-switchover-bandwidth", available),
            false => settings,
        }
    }

    /// The bandwidth, the one for the last pass, and the limit.
    fn bandwidth_and_limit(self, pace: &Pace) -> (u64, u64, u64) {
        let page = page_a_millisecond(pace.page_bytes);
        match self {
            Self::Opening => (HARDLY_YET, page, 1),
            Self::Held if pace.is_told => (HARDLY, page, 1),
            Self::Held => (BARELY, page, 1),
            Self::Tempted(pause) if pace.held_bytes == 0 => {
                Self::MustEnd(pause).bandwidth_and_limit(pace)
            }
            Self::Full | Self::Tempted(_) => (UNLIMITED, page, 1),
            Self::MayEnd(pause) => ending(pace, part(pause, SMALL_PART)),
            Self::MustEnd(pause) => ending(pace, part(pause, LARGE_PART)),
        }
    }

    /// Every value that we give these parameters in a tap whose pause is bounded so: by them our own
    /// settings are known from those that somebody else has made meanwhile.
    pub(crate) fn all_values(pause: Duration, held_bytes: u64) -> BTreeMap<String, Vec<Value>> {
        let mut values: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        let every =
            [Self::Opening, Self::Held, Self::Full, Self::MayEnd(pause), Self::MustEnd(pause)];
        // Targets have pages of 256 bytes to 64 KiB; which, the stream says later.
        for (throttle, shift) in every.into_iter().flat_map(|it| (8..=16).map(move |s| (it, s))) {
            let pace = Pace { page_bytes: 1 << shift, is_told: true, held_bytes, sent_lately: 0 };
            for (name, value) in throttle.settings(&pace).parameters {
                note_value(&mut values, name, value);
            }
        }
        note_value(&mut values, "max-bandwidth".to_owned(), BARELY.into());
        for limit in limits() {
            note_value(&mut values, "downtime-limit".to_owned(), limit.into());
        }
        values
    }
}

fn note_value(values: &mut BTreeMap<String, Vec<Value>>, name: String, value: Value) {
    let known = values.entry(name).or_default();
    if !known.contains(&value) {
        known.push(value);
    }
}

/// The parameters with which QEMU ends when the guest's last pages take this many milliseconds.
fn ending(pace: &Pace, milliseconds: u64) -> (u64, u64, u64) {
    // What the hold has pending is no memory, and takes no time to speak of.
    if pace.is_told {
        let held = (pace.held_bytes * 1000).div_ceil(milliseconds);
        return (UNLIMITED, LOCAL + held, milliseconds);
    }
    let threshold = pace.held_bytes + LOCAL / 1000 * milliseconds;
    (UNLIMITED, LOCAL, limit_for(pace, threshold))
}

/// The limit with which a QEMU that measures by itself comes nearest to this threshold in bytes, from below
/// but well over what the hold has pending.
fn limit_for(pace: &Pace, threshold: u64) -> u64 {
    let bytes = |limit: u64| limit.saturating_mul(pace.sent_lately);
    let enough = |limit: &u64| bytes(*limit) > pace.held_bytes / 4 * 5;
    let within = limits().filter(enough).take_while(|limit| bytes(*limit) <= threshold).last();
    within.or_else(|| limits().find(enough)).unwrap_or(NO_LIMIT)
}

/// The limits that such a QEMU is given, in milliseconds: each about twice the one before, and numbers that
/// nobody else is likely to set.
fn limits() -> impl Iterator<Item = u64> {
    (0..=20).map(|shift| (1 << shift) + 7).chain([NO_LIMIT])
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

    const PAUSE: Duration = Duration::from_millis(250);
    const TOLD: Pace =
        Pace { page_bytes: 4096, is_told: true, held_bytes: 16 << 20, sent_lately: 0 };

    #[test]
    fn our_own_values_are_known_and_no_others() {
        let all = Throttle::all_values(PAUSE, TOLD.held_bytes);
        for throttle in [Throttle::Held, Throttle::Full, Throttle::MustEnd(PAUSE)] {
            for sent_lately in [0, 1, 600, 1 << 20] {
                for pace in [TOLD, Pace { is_told: false, sent_lately, ..TOLD }] {
                    for (name, value) in throttle.settings(&pace).parameters {
                        assert!(all[&name].contains(&value), "{name} {value}");
                    }
                }
            }
        }
        assert!(!all["max-bandwidth"].contains(&Value::from(128 << 20)));
        assert!(!all["downtime-limit"].contains(&Value::from(300)));
        assert_eq!(part(Duration::from_millis(1), 4), 1);
        assert_eq!(part(Duration::MAX, 4), NO_LIMIT);
    }

    #[test]
    fn what_the_hold_has_pending_is_under_the_threshold_at_the_end_and_never_before() {
        let threshold = |throttle: Throttle, pace: &Pace| {
            let settings = throttle.settings(pace).parameters;
            let limit = settings["downtime-limit"].as_u64().unwrap();
            let told = settings.get("avail-switchover-bandwidth").and_then(Value::as_u64);
            limit * told.map_or(pace.sent_lately, |told| told / 1000)
        };
        for throttle in [Throttle::MayEnd(PAUSE), Throttle::MustEnd(PAUSE)] {
            let told = threshold(throttle, &TOLD);
            assert!(told > TOLD.held_bytes && told < TOLD.held_bytes + (200 << 20), "{told}");
            for sent_lately in [600, 100_000, 1 << 20] {
                let pace = Pace { is_told: false, sent_lately, ..TOLD };
                let measured = threshold(throttle, &pace);
                assert!(measured > pace.held_bytes && measured <= told.max(2 * pace.held_bytes));
            }
        }
        // 4 GB a second, which is more than a socket carries.
        let fast = Pace { is_told: false, sent_lately: 4 << 20, ..TOLD };
        assert!(threshold(Throttle::Full, &fast) < TOLD.held_bytes);
        assert!(threshold(Throttle::Full, &TOLD) < TOLD.held_bytes);
    }
}
