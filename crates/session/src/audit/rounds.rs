//! The rounds of each block: an observer that keeps every region's part in them.

use memtwin_replicate::{Observer, RegionRound, ReplicationEvent, Round};

/// Every committed round with each region's part in it.
#[derive(Clone, Debug, Default)]
pub(super) struct RegionRounds {
    shares: Vec<RegionRound>,
    rounds: Vec<(Round, Vec<RegionRound>)>,
}

impl RegionRounds {
    /// The rounds of one region, numbered on from `from`.
    pub(super) fn of_region(&self, region: usize, from: u32) -> impl Iterator<Item = Round> {
        self.rounds.iter().map(move |(round, shares)| {
            let share = shares.get(region).copied().unwrap_or_default();
            Round {
                n: round.n + from,
                dirty_pages: share.dirty_pages,
                sent_pages: share.sent_pages,
                false_dirty_pages: share.false_dirty_pages,
                zero_pages: share.zero_pages,
                bytes: share.bytes,
                ..*round
            }
        })
    }

    /// Every round, with all regions together.
    pub(super) fn all(&self) -> impl ExactSizeIterator<Item = &Round> {
        self.rounds.iter().map(|(round, _)| round)
    }
}

impl Observer for RegionRounds {
    fn event(&mut self, event: &ReplicationEvent<'_>) {
        match event {
            ReplicationEvent::Shares { of, .. } => self.shares = of.to_vec(),
            ReplicationEvent::Round(round) => {
                self.rounds.push((**round, std::mem::take(&mut self.shares)))
            }
            _ => {}
        }
    }
}
