//! The rounds of each block: an observer that keeps every region's part in them.

use memtwin_replicate::{Observer, RegionRound, ReplicationEvent, Round};
use memtwin_report::record::{HeatMap, RoundEntry};
use memtwin_report::{HeatRecorder, started};
use std::time::{Duration, Instant};

/// Every committed round with each region's part in it.
#[derive(Clone, Debug)]
pub(super) struct RegionRounds {
    shares: Vec<RegionRound>,
    rounds: Vec<(Round, Duration, Vec<RegionRound>)>,
    heat: HeatRecorder,
    /// When the audit began.
    began: Instant,
}

impl RegionRounds {
    /// None yet, of an audit that began then.
    pub(super) fn since(began: Instant) -> Self {
        Self { shares: Vec::new(), rounds: Vec::new(), heat: HeatRecorder::default(), began }
    }

    /// The rounds of one region, numbered on from `from`.
    pub(super) fn of_region(&self, region: usize, from: u32) -> impl Iterator<Item = RoundEntry> {
        self.rounds.iter().map(move |(round, started, shares)| {
            let share = shares.get(region).copied().unwrap_or_default();
            let round = Round {
                n: round.n + from,
                dirty_pages: share.dirty_pages,
                sent_pages: share.sent_pages,
                false_dirty_pages: share.false_dirty_pages,
                zero_pages: share.zero_pages,
                bytes: share.bytes,
                ..*round
            };
            RoundEntry::from(&round).started(*started)
        })
    }

    /// Where one region's pages were.
    pub(super) fn heat(&self, region: usize) -> Option<&HeatMap> {
        self.heat.regions().get(region)
    }

    /// Every round, with all regions together.
    pub(super) fn all(&self) -> impl ExactSizeIterator<Item = &Round> {
        self.rounds.iter().map(|(round, ..)| round)
    }
}

impl Observer for RegionRounds {
    fn event(&mut self, event: &ReplicationEvent<'_>) {
        self.heat.event(event);
        match event {
            ReplicationEvent::Shares { of, .. } => self.shares = of.to_vec(),
            ReplicationEvent::Round(round) => {
                let started = started(Some(self.began), round);
                self.rounds.push((**round, started, std::mem::take(&mut self.shares)))
            }
            _ => {}
        }
    }
}
