//! The stand-still: what a judge is given, and how it ends.

use crate::RoundError;
use crate::session::Replication;
use crate::{Observer, Sink, Source, SourceError};
use memtwin_pages::{Layout, PageSet, RegionId};

/// The proof that a verdict needs: the guest is paused, its log was collected clean, and every
/// page is committed. Ends, and the guest runs on, when it is dropped.
#[derive(Debug)]
pub struct PausedGuest<'r, S: Source, K: Sink, O: Observer> {
    pub(crate) replication: &'r mut Replication<S, K, O>,
}

impl<'r, S: Source, K: Sink, O: Observer> PausedGuest<'r, S, K, O> {
    /// To be handed out only when the replication stands still; it resumes in any case.
    pub(crate) fn of(replication: &'r mut Replication<S, K, O>) -> Self {
        Self { replication }
    }

    /// The paused guest.
    pub fn source(&mut self) -> &mut S {
        &mut self.replication.source
    }

    /// The twin.
    pub fn sink(&self) -> &K {
        &self.replication.sink
    }

    /// The regions.
    pub fn layout(&self) -> &Layout {
        self.replication.source.layout()
    }

    /// The round in which a page last went to the twin.
    pub fn last_round(&self, region: RegionId, page: u64) -> u32 {
        self.replication.backlog.last_round(region, page)
    }

    /// The pages of a region that are not in the twin: none, but where a hypervisor that hands its
    /// pages over never sent them.
    pub fn never_sent(&self, region: RegionId) -> &PageSet {
        &self.replication.backlog.owed()[region.0]
    }

    /// How many rounds were committed so far, pre-copy included.
    pub fn rounds(&self) -> u32 {
        self.replication.next
    }

    /// Compares, and returns what that came to only if the guest has not run meanwhile: what a
    /// judge has read of a guest that ran is worth nothing. The one place where that is asked.
    ///
    /// Errors: the guest ran, or its source can't tell ([`Source::confirm_paused`]).
    pub fn compare<T>(
        &mut self,
        comparison: impl FnOnce(&mut Self) -> T,
    ) -> Result<T, SourceError> {
        let compared = comparison(self);
        self.replication.source.confirm_paused()?;
        Ok(compared)
    }

    /// Lets the guest run on. As dropping it, but says when that fails.
    pub fn release(self) -> Result<(), RoundError> {
        self.replication.resume()
    }
}

impl<S: Source, K: Sink, O: Observer> Drop for PausedGuest<'_, S, K, O> {
    fn drop(&mut self) {
        // A source that can't be resumed now is tried once more when the replication ends.
        let _ = self.replication.resume();
    }
}
