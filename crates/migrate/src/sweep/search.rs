//! The search for the smallest interval that converges, by halves: a load that dirties more often is
//! taken to be no easier to move. What came of a load that missed its intervals says nothing about one
//! that did not.

use std::collections::BTreeMap;

/// What came of an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SweepAttempt {
    /// The guest moved, and the load was the one that was asked for.
    Converged,
    /// The guest did not move.
    Not,
    /// The load missed too many intervals.
    NotThatLoad,
}

/// A search between two intervals.
#[derive(Clone, Debug)]
pub(super) struct IntervalSearch {
    low: u64,
    high: u64,
    known: BTreeMap<u64, SweepAttempt>,
}

impl IntervalSearch {
    pub(super) fn new(low: u64, high: u64) -> Self {
        Self { low, high, known: BTreeMap::new() }
    }

    /// Between which intervals.
    pub(super) fn bounds(&self) -> (u64, u64) {
        (self.low, self.high)
    }

    /// What came of an interval.
    pub(super) fn enter(&mut self, interval: u64, came: SweepAttempt) {
        if (self.low..=self.high).contains(&interval) {
            self.known.insert(interval, came);
        }
    }

    /// The next to be tried; nothing when it is known.
    pub(super) fn next(&self) -> Option<u64> {
        if !self.known.contains_key(&self.high) {
            return Some(self.high);
        }
        let smallest = self.smallest()?;
        let below = self.below().unwrap_or(self.low - 1);
        (smallest - below > 1).then(|| below + (smallest - below) / 2)
    }

    /// The smallest interval which converged, and above which none did not.
    pub(super) fn smallest(&self) -> Option<u64> {
        let fits = self.known.iter().rev().take_while(|(_, came)| **came != SweepAttempt::Not);
        fits.filter(|(_, came)| **came == SweepAttempt::Converged).last().map(|(at, _)| *at)
    }

    /// The largest below that which did not; of all, if there is none.
    pub(super) fn below(&self) -> Option<u64> {
        let smallest = self.smallest().unwrap_or(u64::MAX);
        let mut below = self.known.range(..smallest).rev();
        below.find(|(_, came)| **came != SweepAttempt::Converged).map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SweepAttempt::{Converged, Not, NotThatLoad};

    fn with(known: &[(u64, SweepAttempt)]) -> IntervalSearch {
        let mut search = IntervalSearch::new(1, 50);
        known.iter().for_each(|(interval, came)| search.enter(*interval, *came));
        search
    }

    /// Searches where all from `first` on converge; how many were tried, and what was found.
    fn found(low: u64, high: u64, first: u64) -> (u32, Option<u64>) {
        let (mut search, mut tries) = (IntervalSearch::new(low, high), 0);
        while let Some(interval) = search.next() {
            search.enter(interval, if interval >= first { Converged } else { Not });
            tries += 1;
        }
        (tries, search.smallest())
    }

    #[test]
    fn it_ends_soon_and_finds_what_is_there() {
        assert_eq!(found(1, 50, 6).1, Some(6));
        assert_eq!(found(1, 50, 51), (1, None));
        for (low, more) in [(1, 0), (1, 49), (7, 1), (3, 500)] {
            for first in 1..low + more + 3 {
                let (tries, smallest) = found(low, low + more, first);
                assert!(tries <= 11, "{tries} from {low} to {}", low + more);
                assert_eq!(smallest, (first <= low + more).then_some(first.max(low)));
            }
        }
    }

    #[test]
    fn what_is_known_is_not_tried_again() {
        let search = with(&[(50, Converged), (5, Not), (10, Converged), (100, Not)]);
        assert_eq!(search.next(), Some(7));
    }

    #[test]
    fn one_that_converges_by_luck_below_one_that_does_not_is_not_taken() {
        let search = with(&[(50, Converged), (11, Converged), (10, Not), (5, Converged)]);
        assert_eq!((search.next(), search.smallest(), search.below()), (None, Some(11), Some(10)));
    }

    #[test]
    fn a_load_that_missed_its_intervals_tells_nothing_of_smaller_ones() {
        let search = with(&[(50, NotThatLoad), (20, Converged), (10, NotThatLoad)]);
        assert_eq!(
            (search.next(), search.smallest(), search.below()),
            (Some(15), Some(20), Some(10))
        );
        let none = with(&[(50, NotThatLoad), (10, Not)]);
        assert_eq!((none.next(), none.smallest(), none.below()), (None, None, Some(50)));
    }
}
