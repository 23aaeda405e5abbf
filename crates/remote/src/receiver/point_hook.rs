//! The moments of a receiver's life at which a test looks, or ends it.

use std::fmt;
use std::sync::Arc;

/// A moment in a receiver's life at which a test may end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "what has just been done")]
pub enum ReceiverPoint {
    FirstWritten,
    FirstSynced,
    FirstJournal,
    FirstRenamed,
    RoundAppended,
    RoundSynced,
    RoundAcknowledged,
    HalfApplied,
    RoundApplied,
    ImageSynced,
    NewJournal,
    Judged,
    JournalRemoved,
}

impl ReceiverPoint {
    /// Every one.
    pub const ALL: [Self; 13] = [
        Self::FirstWritten,
        Self::FirstSynced,
        Self::FirstJournal,
        Self::FirstRenamed,
        Self::RoundAppended,
        Self::RoundSynced,
        Self::RoundAcknowledged,
        Self::HalfApplied,
        Self::RoundApplied,
        Self::ImageSynced,
        Self::NewJournal,
        Self::Judged,
        Self::JournalRemoved,
    ];
}

/// Called at each [`ReceiverPoint`]: for tests.
#[derive(Clone)]
pub struct PointHook(Arc<dyn Fn(ReceiverPoint) + Send + Sync>);

impl PointHook {
    /// Calls this.
    pub fn new(call: impl Fn(ReceiverPoint) + Send + Sync + 'static) -> Self {
        Self(Arc::new(call))
    }

    pub(crate) fn reached(&self, point: ReceiverPoint) {
        (self.0)(point);
    }
}

impl fmt::Debug for PointHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PointHook")
    }
}
