//! How a guest moved: the rounds as QEMU's counters tell them, the clocks that saw it stand still, its
//! load. Times are in microseconds.

use serde::{Deserialize, Serialize};

/// A migration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Migration {
    /// Where the guest ran when it was over: `destination`, `source` or `nowhere`.
    pub guest: String,
    /// Why it is not at the destination.
    pub reason: Option<String>,
    /// From the command to the guest's resuming, or to the end.
    pub total_us: u64,
    /// Bytes that were sent.
    pub bytes: u64,
    /// How long the guest stood still only for its memory to be judged. The clocks have it in them,
    /// unless they say otherwise.
    pub verify_us: u64,
    /// How long the switch of the route waited for the guest to say whom it reaches; absent where nothing was
    /// switched, and from records of earlier versions. The ping has it in it, unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_wait_us: Option<u64>,
    /// The clocks.
    pub clocks: Vec<Clock>,
    /// The rounds, as far as they can be told apart from outside.
    pub rounds: Vec<MigrationRound>,
    /// How often it was looked whether both sides ran the guest.
    pub looks: u64,
    /// How often they did.
    pub doubled: u64,
    /// The load in the guest before and while it moved.
    pub load: Option<LoadEntry>,
}

/// A clock that saw the guest stand still.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Clock {
    /// The name.
    pub name: String,
    /// What it saw.
    pub us: u64,
    /// The same without the time in which memory was judged.
    pub without_verify_us: u64,
}

/// A round of pre-copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MigrationRound {
    /// Its number.
    pub n: u64,
    /// Pages sent whole.
    pub pages: u64,
    /// Pages sent as one byte.
    pub zero_pages: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// How long it took.
    pub us: u64,
    /// Pages per second that the guest dirtied, by QEMU's estimate.
    pub dirty_pages_per_second: u64,
}

/// What the load achieved, in pages per second, and how many of its intervals went by without a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LoadEntry {
    /// Before.
    pub pages_per_second_before: u64,
    /// While it moved.
    pub pages_per_second_during: u64,
    /// Before.
    pub missed_before: u64,
    /// While it moved.
    pub missed_during: u64,
}
