//! What a judge of a running guest has to know of QEMU's log: how many collections have begun, and of which of
//! them all pages have come (docs/judging.md).

use crate::migration_tap::MigrationTap;
use memtwin_qemu::RamCounters;
use memtwin_replicate::{CancelToken, PageReceiver, RoundError, SourceError};
use std::time::Duration;

/// How often QEMU's count of pages is compared with ours in a round.
const COUNT_ATTEMPTS: u32 = 12;
/// At [`Throttle::Held`](crate::throttle::Throttle) sections come ten times a second, and nothing between them.
const BETWEEN_SECTIONS: Duration = Duration::from_millis(15);

impl MigrationTap<'_> {
    /// The same tap, which follows QEMU's collections from now on: each round ends when all pages of a
    /// collection are known to have come, which takes longer.
    #[must_use]
    pub fn following_collections(mut self) -> Self {
        self.coverage.is_followed = true;
        self
    }

    /// How many collections of its log QEMU has begun: each that begins later has a higher number.
    ///
    /// Errors: QEMU does not say.
    pub fn collections_begun(&mut self) -> Result<u64, SourceError> {
        Ok(self.counts()?.dirty_sync_count)
    }

    /// The last collection of which all pages have come.
    pub fn collections_delivered(&self) -> u64 {
        self.coverage.delivered
    }

    /// Whether as many pages had come in the last round as QEMU had sent. What it sends without a pause can
    /// be counted at some moments only.
    pub fn counts_agree(&self) -> bool {
        self.coverage.counts_agree
    }

    /// Whether QEMU has left pre-copy: there are no rounds any more in which the guest runs.
    pub fn has_left_pre_copy(&self) -> bool {
        self.has_left()
    }

    /// Begins a round of which it is known when everything has come that was pending at its beginning: reads
    /// all that QEMU had sent by then. Returns the collection whose pages the round then has.
    pub(crate) fn begin_followed(
        &mut self,
        into: &mut dyn PageReceiver,
        stop: &CancelToken,
    ) -> Result<Option<u64>, RoundError> {
        if !self.coverage.is_followed {
            return Ok(None);
        }
        // It counts a collection when that begins: the last one may be under way.
        let collected = self.counts()?.dirty_sync_count.saturating_sub(1);
        self.catch_up(into, stop)?;
        self.tracker.begin();
        Ok(Some(collected))
    }

    /// All that was pending when the round began has come.
    pub(crate) fn end_followed(
        &mut self,
        collected: Option<u64>,
        into: &mut dyn PageReceiver,
        stop: &CancelToken,
    ) -> Result<(), RoundError> {
        let Some(collected) = collected.filter(|_| !self.has_left()) else { return Ok(()) };
        self.coverage.delivered = collected.max(self.coverage.delivered);
        self.compare_counts(into, stop)
    }

    /// A round without a page: at `now`, when QEMU said that nothing is pending, its last collection but one
    /// had been sent, and is here when the rest was read.
    pub(crate) fn followed_clean(
        &mut self,
        now: Option<RamCounters>,
        into: &mut dyn PageReceiver,
        stop: &CancelToken,
    ) -> Result<(), RoundError> {
        if !self.coverage.is_followed {
            return Ok(());
        }
        self.catch_up(into, stop)?;
        let collected = now.map(|now| now.dirty_sync_count.saturating_sub(1));
        self.end_followed(collected, into, stop)
    }

    /// Compares QEMU's count of pages with ours, at a moment when it sends nothing.
    ///
    /// Errors: fewer have come than it has sent, and no more come.
    fn compare_counts(
        &mut self,
        into: &mut dyn PageReceiver,
        stop: &CancelToken,
    ) -> Result<(), RoundError> {
        self.coverage.counts_agree = false;
        let mut differed = 0;
        for _ in 0..COUNT_ATTEMPTS {
            let before = sent(self.counts()?);
            while self.step(BETWEEN_SECTIONS, into)? {}
            if self.has_left() {
                return Ok(());
            }
            let ours = self.counters.pages;
            let now = self.counts()?;
            self.counters.qemu = Some(now);
            if before != sent(now) {
                continue;
            }
            if before == ours {
                self.coverage.counts_agree = true;
                return Ok(());
            }
            // It counts a page before it has written it.
            differed += 1;
            self.catch_up(into, stop)?;
        }
        match differed {
            COUNT_ATTEMPTS => Err(self.pages_missing().into()),
            _ => Ok(()),
        }
    }

    fn counts(&mut self) -> Result<RamCounters, SourceError> {
        match self.pending()? {
            Some(counts) => Ok(counts),
            None => Err(self.ended()),
        }
    }
}

/// How many pages QEMU has sent.
fn sent(counts: RamCounters) -> u64 {
    counts.normal + counts.duplicate
}
