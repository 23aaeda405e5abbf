//! How a case was judged: its guest paused, or running.

use serde::{Deserialize, Serialize};

/// How memory and twin were compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum JudgeKind {
    /// While the guest stood still.
    Paused,
    /// While it ran, and what then was unexplained in a pause.
    Running,
}

impl JudgeKind {
    /// Its name, as in the record.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Running => "running",
        }
    }
}

/// How a case was judged (docs/judging.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct JudgeFacts {
    /// While the guest stood still, or while it ran.
    pub kind: JudgeKind,
    /// How often all of its memory was read: stops, or sweeps.
    pub sweeps: u64,
    /// Pages of this case that were compared, each as often as it was.
    pub pages_compared: u64,
    /// Pages that differed when they were read while the guest ran.
    pub suspects: u64,
    /// Of those: the log named them afterwards, or they were the twin's again.
    pub dismissed: u64,
    /// Of those: they differed in a pause as well, and are lost.
    pub confirmed: u64,
    /// How long the guest stood still for it, in microseconds; absent if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_us: Option<u64>,
    /// How many bytes of memory were read in a second; absent of a stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_bytes_per_second: Option<u64>,
}
