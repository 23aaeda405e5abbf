//! A guest of our own making, whose writers are ours to steer.

use crate::SourceError;
use memtwin_pages::RegionId;

/// A guest of our own making, whose writers we start, pace and end.
pub trait GuestControl {
    /// Lets the writers write.
    fn start(&mut self);
    /// Tells them to write no more, for good.
    fn stop(&mut self);
    /// Lets them write this many pages a second together; `None` lifts the limit.
    fn pace(&mut self, pages_per_second: Option<u64>);
    /// How many pages they have written, by their own count.
    fn written(&self) -> u64;
    /// The changed pages that were suppressed from the log on purpose: only a control's guest has any.
    ///
    /// Errors: the guest's memory can't be read.
    fn injected(&mut self) -> Result<Vec<(RegionId, u64)>, SourceError> {
        Ok(Vec::new())
    }
}
