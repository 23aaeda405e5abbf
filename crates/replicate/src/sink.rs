//! What the engine asks of a twin.

use crate::{Collector, SamePages, SinkError};
use memtwin_pages::{Layout, RegionId, Run};

/// Where the pages go.
pub trait Sink {
    /// Makes room for these regions. Called once, before the first page.
    fn open(&mut self, layout: &Layout) -> Result<(), SinkError>;

    /// Takes the bytes of whole pages, from page number `first` of the region on.
    ///
    /// They count as part of the twin after the next successful [`Sink::commit`]; until then the
    /// engine keeps them on its backlog and will send them again if anything fails.
    fn write(
        &mut self,
        region: RegionId,
        first: u64,
        bytes: &[u8],
    ) -> Result<WriteOutcome, SinkError>;

    /// Hints that these pages will be written next.
    fn prefetch(&self, _region: RegionId, _pages: Run) {}

    /// Returns when every page written before is in the twin, or on its way there: then
    /// [`Sink::settle`] waits for it, and [`Sink::take_undelivered`] names it if it got lost.
    fn commit(&mut self, round: u32) -> Result<(), SinkError>;

    /// Returns when every round committed before is in the twin, for good.
    fn settle(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Names every page that was committed and yet did not reach the twin, as a connection broke:
    /// the engine owes them again. They are named once.
    fn take_undelivered(&mut self, _into: &mut dyn Collector) {}
}

/// A sink that is lent: its owner has it back when the replication is over.
impl<K: Sink + ?Sized> Sink for &mut K {
    fn open(&mut self, layout: &Layout) -> Result<(), SinkError> {
        (**self).open(layout)
    }

    fn write(
        &mut self,
        region: RegionId,
        first: u64,
        bytes: &[u8],
    ) -> Result<WriteOutcome, SinkError> {
        (**self).write(region, first, bytes)
    }

    fn prefetch(&self, region: RegionId, pages: Run) {
        (**self).prefetch(region, pages);
    }

    fn commit(&mut self, round: u32) -> Result<(), SinkError> {
        (**self).commit(round)
    }

    fn settle(&mut self) -> Result<(), SinkError> {
        (**self).settle()
    }

    fn take_undelivered(&mut self, into: &mut dyn Collector) {
        (**self).take_undelivered(into);
    }
}

/// What became of pages that a sink took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOutcome {
    /// Which were in the twin already, byte for byte: the falsely dirty ones.
    pub same: SamePages,
    /// How many bytes were written or sent.
    pub bytes: u64,
}
