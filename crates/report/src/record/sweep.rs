//! A sweep: a grid of dirty rates and bandwidths, what was predicted of each and what came of it. Times are
//! in microseconds, but for the load's intervals, which are in milliseconds as `dirtyram` takes them.

use serde::{Deserialize, Serialize};

/// A sweep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Sweep {
    /// What limited the bandwidth: `max-bandwidth` (QEMU) or `tc tbf` (the boards' kernels).
    pub limited_by: String,
    /// How long the guest might stand still.
    pub downtime_limit_us: u64,
    /// When each migration was given up.
    pub timeout_us: u64,
    /// How many pages the load has.
    pub load_pages: u64,
    /// How many of them it dirties at each interval.
    pub load_dirty: u64,
    /// A migration without load and without a limit.
    pub unloaded: Unloaded,
    /// The loads, each with its dirty-rate curve.
    pub loads: Vec<SweepLoad>,
    /// What was tried, in this order.
    pub cells: Vec<SweepCell>,
    /// The smallest interval that converges, if it was looked for.
    pub smallest: Option<Smallest>,
}

/// What a migration without load and limit has shown of the link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Unloaded {
    /// Bytes per second, in its best second.
    pub bytes_per_second: u64,
    /// Bytes of its first round.
    pub bytes: u64,
    /// How long that took.
    pub us: u64,
}

/// A load while nothing moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SweepLoad {
    /// Its interval.
    pub interval_ms: u64,
    /// What it achieved.
    pub achieved: Achieved,
    /// Whether it missed so few intervals that it is the load that was asked for.
    pub kept: bool,
    /// Distinct bytes that were dirtied within a time.
    pub curve: Vec<CurvePoint>,
}

/// What a load achieved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Achieved {
    /// Pages per second.
    pub pages_per_second: u64,
    /// Batches done.
    pub batches: u64,
    /// Intervals that went by without one.
    pub missed: u64,
}

/// A point of a dirty-rate curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CurvePoint {
    /// Within this time
    pub us: u64,
    /// this many distinct bytes were dirtied.
    pub bytes: u64,
}

/// A migration that was predicted and tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SweepCell {
    /// The load's interval.
    pub interval_ms: u64,
    /// The bandwidth.
    pub bits_per_second: u64,
    /// What was predicted.
    pub predicted: Predicted,
    /// What came of it.
    pub observed: Observed,
    /// Whether that is what was predicted; null where something else kept the guest from moving.
    pub agrees: Option<bool>,
}

/// What was predicted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Predicted {
    /// `converges`, `too-late` or `never`.
    pub outcome: String,
    /// In this many rounds.
    pub rounds: Option<u64>,
    /// Until the guest is stopped.
    pub us: Option<u64>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Observed {
    /// Whether the guest moved.
    pub moved: bool,
    /// Why not.
    pub reason: Option<String>,
    /// How often the dirty log was collected before the guest was stopped, or the move given up.
    pub rounds: u64,
    /// How long that took.
    pub us: u64,
    /// Bytes that were sent.
    pub bytes: u64,
    /// Bytes per second, in the best second.
    pub bytes_per_second: u64,
    /// How long the guest stood still, by QEMU's count.
    pub downtime_us: Option<u64>,
    /// What the load achieved meanwhile.
    pub load: Achieved,
}

/// The smallest interval that converges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Smallest {
    /// On a link of this bandwidth.
    pub bits_per_second: u64,
    /// Looked for from here
    pub low_ms: u64,
    /// up to here.
    pub high_ms: u64,
    /// It; null if none was seen to.
    pub interval_ms: Option<u64>,
    /// What keeps it from being smaller.
    pub why: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RunRecord;

    #[test]
    fn a_record_has_it_only_where_there_was_one_and_is_read_back() {
        let mut record = RunRecord::new("migrate", Vec::new());
        let text = |record: &RunRecord| serde_json::to_string(record).unwrap();
        assert!(!text(&record).contains("sweep"));
        assert_eq!(serde_json::from_str::<RunRecord>(&text(&record)).unwrap(), record);
        let predicted = Predicted { outcome: "never".to_owned(), rounds: None, us: None };
        let observed = Observed {
            moved: true,
            reason: None,
            rounds: 3,
            us: 4,
            bytes: 5,
            bytes_per_second: 6,
            downtime_us: Some(7),
            load: Achieved::default(),
        };
        record.sweep = Some(Sweep {
            limited_by: "max-bandwidth".to_owned(),
            downtime_limit_us: 300_000,
            timeout_us: 60_000_000,
            load_pages: 8,
            load_dirty: 2,
            unloaded: Unloaded::default(),
            loads: vec![SweepLoad {
                interval_ms: 5,
                achieved: Achieved::default(),
                kept: false,
                curve: vec![CurvePoint { us: 1, bytes: 2 }],
            }],
            cells: vec![SweepCell {
                interval_ms: 5,
                bits_per_second: 1_000_000_000,
                predicted,
                observed,
                agrees: Some(false),
            }],
            smallest: None,
        });
        assert_eq!(serde_json::from_str::<RunRecord>(&text(&record)).unwrap(), record);
    }
}
