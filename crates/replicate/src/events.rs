//! What the engine says of itself while it runs: the only link from it to reporters.

use memtwin_pages::{Layout, PageSet};
use std::time::Duration;

/// Which part a round plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoundKind {
    /// Every page, whatever the log says: round 0.
    PreCopy,
    /// The pages that the log named while the guest ran.
    Delta,
    /// The pages that the log named when the guest had been paused.
    Final,
}

/// The account of one committed round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// Its number; pre-copy is 0.
    pub n: u32,
    /// Which part it plays.
    pub kind: RoundKind,
    /// How many pages the log named in this round's collection.
    pub dirty_pages: u64,
    /// How many pages were copied: those, and what an earlier round had failed to commit.
    pub sent_pages: u64,
    /// How many of the copied pages were in the twin already, byte for byte.
    pub false_dirty_pages: u64,
    /// How many of the copied pages were all zero.
    pub zero_pages: u64,
    /// How many bytes the sink wrote or sent.
    pub bytes: u64,
    /// How long collecting took.
    pub collect: Duration,
    /// How long copying took, up to and with the commit.
    pub copy: Duration,
    /// How long the round took in all.
    pub total: Duration,
}

/// What part a region had in a committed round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegionRound {
    /// How many of its pages the log named.
    pub dirty_pages: u64,
    /// How many of its pages were copied.
    pub sent_pages: u64,
    /// How many of those were in the twin already, byte for byte.
    pub false_dirty_pages: u64,
    /// How many of those were all zero.
    pub zero_pages: u64,
    /// How many bytes the sink wrote or sent for it.
    pub bytes: u64,
}

/// Something that an [`Observer`] may want to know.
#[derive(Debug)]
pub enum ReplicationEvent<'a> {
    /// Logging is on and pre-copy begins.
    Started(&'a Layout),
    /// The log was collected; these are the pages that it named, a set for each region.
    Collected {
        /// The round that they belong to.
        round: u32,
        /// The named pages, by region.
        named: &'a [PageSet],
    },
    /// A part of a round was copied.
    Copied {
        /// Pages copied so far in this round.
        pages: u64,
        /// Pages that this round has to copy.
        of: u64,
    },
    /// A round was committed: each region's part in it, in the order of the layout. Comes just
    /// before [`ReplicationEvent::Round`].
    Shares {
        /// The round.
        round: u32,
        /// By region.
        of: &'a [RegionRound],
        /// The pages that the log named, by region.
        named: &'a [PageSet],
        /// The copied pages that were in the twin already, by region.
        same: &'a [&'a PageSet],
    },
    /// A round was committed.
    Round(&'a Round),
    /// The guest was paused.
    Paused,
    /// The guest runs again, after having been held for this long.
    Resumed(Duration),
}

/// Hears events. May fail nothing and change nothing.
pub trait Observer {
    /// Called for each event, on the engine's thread: be quick.
    fn event(&mut self, event: &ReplicationEvent<'_>);
}

impl<O: Observer + ?Sized> Observer for &mut O {
    fn event(&mut self, event: &ReplicationEvent<'_>) {
        (**self).event(event);
    }
}

/// Hears if it is there.
impl<O: Observer> Observer for Option<O> {
    fn event(&mut self, event: &ReplicationEvent<'_>) {
        if let Some(observer) = self {
            observer.event(event);
        }
    }
}

/// Hears nothing.
impl Observer for () {
    fn event(&mut self, _event: &ReplicationEvent<'_>) {}
}

/// Both hear, the first one first.
impl<A: Observer, B: Observer> Observer for (A, B) {
    fn event(&mut self, event: &ReplicationEvent<'_>) {
        self.0.event(event);
        self.1.event(event);
    }
}
