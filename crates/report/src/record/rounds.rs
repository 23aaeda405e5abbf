//! A round in a record.

use memtwin_replicate::{Round, RoundKind};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Which part a round plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum RecordedKind {
    /// Every page: round 0.
    PreCopy,
    /// While the guest ran.
    Delta,
    /// After it had been paused.
    Final,
}

/// A committed round. Times are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RoundEntry {
    /// Its number; pre-copy is 0.
    pub n: u32,
    /// Which part it plays.
    pub kind: RecordedKind,
    /// How many pages the log named.
    pub dirty_pages: u64,
    /// How many pages were copied.
    pub sent_pages: u64,
    /// How many of those were in the twin already.
    pub false_dirty_pages: u64,
    /// How many of those were all zero.
    pub zero_pages: u64,
    /// How many bytes were written or sent.
    pub bytes: u64,
    /// How long collecting took.
    pub collect_us: u64,
    /// How long copying took, with the commit.
    pub copy_us: u64,
    /// How long the round took in all.
    pub total_us: u64,
    /// When it began, after the case began; absent from records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_us: Option<u64>,
}

impl From<RoundKind> for RecordedKind {
    fn from(kind: RoundKind) -> Self {
        match kind {
            RoundKind::PreCopy => Self::PreCopy,
            RoundKind::Delta => Self::Delta,
            RoundKind::Final => Self::Final,
        }
    }
}

impl From<&Round> for RoundEntry {
    fn from(round: &Round) -> Self {
        Self {
            n: round.n,
            kind: round.kind.into(),
            dirty_pages: round.dirty_pages,
            sent_pages: round.sent_pages,
            false_dirty_pages: round.false_dirty_pages,
            zero_pages: round.zero_pages,
            bytes: round.bytes,
            collect_us: micros(round.collect),
            copy_us: micros(round.copy),
            total_us: micros(round.total),
            started_us: None,
        }
    }
}

impl RoundEntry {
    /// The same, begun so long after the case began.
    #[must_use]
    pub fn started(self, after: Duration) -> Self {
        Self { started_us: Some(micros(after)), ..self }
    }
}

impl From<&Self> for RoundEntry {
    fn from(entry: &Self) -> Self {
        *entry
    }
}

/// Whether a log was put to the test: it named a page after pre-copy, which copies every page
/// whatever the log says.
pub(super) fn is_exercised(rounds: &[RoundEntry]) -> bool {
    rounds.iter().any(|round| round.kind != RecordedKind::PreCopy && round.dirty_pages > 0)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_becomes_an_entry_field_by_field() {
        let round = Round {
            n: 7,
            kind: RoundKind::Final,
            dirty_pages: 1,
            sent_pages: 2,
            false_dirty_pages: 3,
            zero_pages: 4,
            bytes: 5,
            collect: Duration::from_nanos(6_999),
            copy: Duration::from_micros(7),
            total: Duration::from_millis(8),
        };
        let json = serde_json::to_string(&RoundEntry::from(&round)).unwrap();
        assert_eq!(
            json,
            r#"{"n":7,"kind":"final","dirty_pages":1,"sent_pages":2,"false_dirty_pages":3,"#
                .to_owned()
                + r#""zero_pages":4,"bytes":5,"collect_us":6,"copy_us":7,"total_us":8000}"#
        );
        let names = [RoundKind::PreCopy, RoundKind::Delta]
            .map(|kind| serde_json::to_string(&RecordedKind::from(kind)).unwrap());
        assert_eq!(names, [r#""precopy""#, r#""delta""#]);
    }
}
