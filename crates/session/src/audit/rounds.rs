//! The rounds of each block: an observer that keeps every region's part in them.

use memtwin_replicate::{Event, Observer, Round, Share};

/// Every committed round with each region's part in it.
#[derive(Clone, Debug, Default)]
pub(super) struct RegionRounds {
    shares: Vec<Share>,
    rounds: Vec<(Round, Vec<Share>)>,
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
    fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Shares { of, .. } => self.shares = of.to_vec(),
            Event::Round(round) => self.rounds.push((**round, std::mem::take(&mut self.shares))),
            _ => {}
        }
    }
}
