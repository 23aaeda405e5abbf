//! A pause in which nothing is waited for but the guest: its log is collected and its memory read, it runs
//! on, and only then does what was collected go to the sink.
//!
//! For a guest that is somebody's. The twin's disk may be frozen, or its network slow: that holds up us.

use crate::RoundError;
use crate::paused_guest::PausedGuest;
use crate::session::Replication;
use crate::{CancelToken, Collector, Observer, ReplicationEvent, RoundKind, Sink, Source};
use memtwin_pages::{PageSet, RegionId};
use std::time::{Duration, Instant};

/// A paused guest's log is clean after the collection that empties it, if pausing means anything. A few
/// more are allowed for what a hypervisor logs late.
const COLLECTIONS_TO_SETTLE: u32 = 8;

impl<S: Source, K: Sink, O: Observer> Replication<S, K, O> {
    /// Pauses the guest, collects until its log is clean, has `read` look at it, and lets it run on.
    /// `read` is given what was collected, by region.
    ///
    /// What was collected is owed to the twin, and goes there with [`Replication::settle`]. What `read`
    /// returns is worth something only if the guest has not run meanwhile, which is asked here.
    ///
    /// Errors: collecting failed or found no end, what `read` returns, or the guest ran meanwhile; the guest runs on in any case.
    pub fn read_paused<T>(
        &mut self,
        stop: &CancelToken,
        read: impl FnOnce(&mut S, &[PageSet]) -> Result<T, RoundError>,
    ) -> Result<T, RoundError> {
        // Noted first: if pausing half succeeds, the drop must still resume. Said first: who hears it
        // may wait for a terminal.
        self.observer_mut().event(&ReplicationEvent::Paused);
        self.begin_pause();
        let still = PausedGuest::of(self);
        let this = &mut *still.replication;
        this.source.pause()?;
        this.backlog.forget_named();
        let mut collections = 0;
        loop {
            if stop.is_set() {
                return Err(RoundError::Interrupted);
            }
            let mut counted = CountingCollector { into: &mut this.backlog, pages: 0 };
            this.source.collect(&mut counted)?;
            match counted.pages {
                0 => break,
                _ if collections < COLLECTIONS_TO_SETTLE => collections += 1,
                pages => return Err(RoundError::NeverClean { pages, round: this.next }),
            }
        }
        let value = read(&mut this.source, this.backlog.named())?;
        this.source.confirm_paused()?;
        still.release()?;
        Ok(value)
    }

    /// Copies what was collected in the pause, and returns when all of it is in the twin for good. The log
    /// is not asked again: the twin is what the guest's memory was then.
    ///
    /// Errors: as [`Replication::round`]; what was collected is still owed.
    pub fn settle(&mut self, stop: &CancelToken) -> Result<(), RoundError> {
        loop {
            self.round_of(RoundKind::Final, stop)?;
            if self.is_settled()? {
                return Ok(());
            }
            // The sink has lost something: it goes again, and was named already.
            self.backlog.forget_named();
        }
    }

    /// A round of what is owed, without a collection.
    fn round_of(&mut self, kind: RoundKind, stop: &CancelToken) -> Result<(), RoundError> {
        loop {
            let n = self.next;
            let began = Instant::now();
            match self.copy_and_commit(n, stop) {
                Err(RoundError::Sink(error)) if error.is_again() => {}
                Err(error) => return Err(error),
                Ok(tallies) => {
                    self.report(n, kind, &tallies, Duration::ZERO, began.elapsed());
                    return Ok(());
                }
            }
        }
    }
}

/// A collector that says how many pages it was given.
struct CountingCollector<'b> {
    into: &'b mut dyn Collector,
    pages: u64,
}

impl Collector for CountingCollector<'_> {
    fn pages(&mut self, region: RegionId, bitmap: &[u64]) {
        self.pages += bitmap.iter().map(|word| u64::from(word.count_ones())).sum::<u64>();
        self.into.pages(region, bitmap);
    }

    fn page(&mut self, region: RegionId, page: u64) {
        self.pages += 1;
        self.into.page(region, page);
    }
}
