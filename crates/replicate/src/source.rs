//! What the engine asks of a guest.

use crate::{CancelToken, RoundError, RoundKind, SinkError, SourceError};
use memtwin_pages::{Layout, RegionId, Run};

/// Takes the pages that a dirty log names. There is no way to take one back.
pub trait Collector {
    /// Adds every page of a bitmap: bit `n % 64` of word `n / 64` is page `n` of the region.
    fn pages(&mut self, region: RegionId, bitmap: &[u64]);

    /// Adds one page of the region.
    fn page(&mut self, region: RegionId, page: u64);
}

/// Whether the guest will write again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestState {
    /// It may write at any moment (also when it is merely paused).
    Running,
    /// It has ended by itself and writes no more.
    Stopped,
}

/// A running guest seen through its dirty log.
pub trait Source {
    /// The regions whose writes are logged. Never changes.
    fn layout(&self) -> &Layout;

    /// Switches logging on. When it returns, every later write will be named by a collection.
    fn start_logging(&mut self) -> Result<(), SourceError>;

    /// Collects: adds every page written since the last collection, and returns when a new write
    /// would be logged again, so that no write between the two is lost.
    ///
    /// On an error, whatever the hypervisor has already cleared must have been added.
    fn collect(&mut self, into: &mut dyn Collector) -> Result<(), SourceError>;

    /// Copies the bytes at `offset` of a region as they are at this moment. The guest may be
    /// writing them: each comes out old or new.
    fn read(&mut self, region: RegionId, offset: u64, into: &mut [u8]) -> Result<(), SourceError>;

    /// Hints that these pages will be read next.
    fn prefetch(&self, _region: RegionId, _pages: Run) {}

    /// Holds the guest. When it returns, nothing writes until [`Source::resume`].
    fn pause(&mut self) -> Result<(), SourceError>;

    /// Errors unless the guest has not run since [`Source::pause`] held it (of a source that holds
    /// it only with its last pages: since those came), not even for a moment. Asked when its memory
    /// was compared: whoever else can let it run may have done so meanwhile, and then what differs
    /// says nothing of the log.
    ///
    /// Not defaulted: each source has to know how it can tell.
    fn confirm_paused(&mut self) -> Result<(), SourceError>;

    /// Lets a paused guest run on. Does nothing to a guest that [`Source::pause`] does not hold.
    fn resume(&mut self) -> Result<(), SourceError>;

    /// Switches logging off. Does nothing when it is off.
    fn stop_logging(&mut self) -> Result<(), SourceError>;

    /// Whether the guest still runs. [`SourceError::Guest`] if it died or makes no progress.
    fn guest(&mut self) -> Result<GuestState, SourceError>;

    /// The source as one whose hypervisor hands the pages over; `None` if the engine reads them.
    fn push_source(&mut self) -> Option<&mut dyn PushSource> {
        None
    }
}

/// A source whose hypervisor collects its log by itself and sends the pages along, as QEMU does in
/// a migration. Each page that it sends is one that its log named, with the bytes that it had.
///
/// What was sent can't be read again: [`Source::collect`] and [`Source::read`] are not asked. So a
/// round that fails in the middle is the last one: no later round, and so no verdict, can be obtained.
pub trait PushSource {
    /// Hands over the pages of one round: in pre-copy every page, in a delta what the log named
    /// since, in a final round the rest, until the hypervisor says that there is nothing more.
    /// Nothing at all if the log was clean.
    ///
    /// A source that holds its guest only with its last pages does so in the first final round,
    /// before it returns.
    fn deliver(
        &mut self,
        kind: RoundKind,
        into: &mut dyn PageReceiver,
        stop: &CancelToken,
    ) -> Result<(), RoundError>;
}

/// Takes the pages that a hypervisor hands over. There is no way to take one back.
pub trait PageReceiver {
    /// Takes the bytes of whole pages, from page number `first` of the region on.
    fn pages(&mut self, region: RegionId, first: u64, bytes: &[u8]) -> Result<(), SinkError>;

    /// Takes a page of which every byte is this one.
    fn filled(&mut self, region: RegionId, page: u64, byte: u8) -> Result<(), SinkError>;
}

impl<S: Source + ?Sized> Source for &mut S {
    fn layout(&self) -> &Layout {
        (**self).layout()
    }

    fn start_logging(&mut self) -> Result<(), SourceError> {
        (**self).start_logging()
    }

    fn collect(&mut self, into: &mut dyn Collector) -> Result<(), SourceError> {
        (**self).collect(into)
    }

    fn read(&mut self, region: RegionId, offset: u64, into: &mut [u8]) -> Result<(), SourceError> {
        (**self).read(region, offset, into)
    }

    fn prefetch(&self, region: RegionId, pages: Run) {
        (**self).prefetch(region, pages);
    }

    fn pause(&mut self) -> Result<(), SourceError> {
        (**self).pause()
    }

    fn confirm_paused(&mut self) -> Result<(), SourceError> {
        (**self).confirm_paused()
    }

    fn resume(&mut self) -> Result<(), SourceError> {
        (**self).resume()
    }

    fn stop_logging(&mut self) -> Result<(), SourceError> {
        (**self).stop_logging()
    }

    fn guest(&mut self) -> Result<GuestState, SourceError> {
        (**self).guest()
    }

    fn push_source(&mut self) -> Option<&mut dyn PushSource> {
        (**self).push_source()
    }
}
