//! Which pages are on their way, round by round, and which a break has swallowed.

use memtwin_pages::{Layout, PageSet, RegionId, Run};
use memtwin_replicate::Collector;
use std::collections::VecDeque;

/// The pages of a round. A run takes 24 bytes, so the books of a round are small beside its pages.
type RoundPages = Vec<(RegionId, Run)>;

/// The sender's books.
#[derive(Debug)]
pub(super) struct InFlightRounds {
    /// What this round has taken so far.
    current: RoundPages,
    /// The rounds that were ended and not acknowledged, oldest first.
    on_the_way: VecDeque<(u32, RoundPages)>,
    /// What is to be given back.
    lost: Vec<PageSet>,
    arrived: Option<u32>,
    /// Whether a round was ended: the first, which is all of memory, is over.
    begun: bool,
}

impl InFlightRounds {
    pub(super) fn new(layout: &Layout) -> Self {
        Self {
            current: RoundPages::new(),
            on_the_way: VecDeque::new(),
            lost: layout.iter().map(|(_, region)| PageSet::new(region.pages())).collect(),
            arrived: None,
            begun: false,
        }
    }

    /// The round has taken these pages.
    pub(super) fn took(&mut self, region: RegionId, run: Run) {
        match self.current.last_mut() {
            Some((last, before)) if *last == region && before.end() == run.first => {
                before.count += run.count;
            }
            _ => self.current.push((region, run)),
        }
    }

    /// The round is over. It is on its way unless nothing of it was `sent`, as the twin will hold
    /// all of it by the rounds before.
    pub(super) fn ended(&mut self, round: u32, sent: bool) {
        let pages = std::mem::take(&mut self.current);
        self.begun = true;
        if sent {
            self.on_the_way.push_back((round, pages));
        }
    }

    /// Whether the first pass is over.
    pub(super) fn is_past_pre_copy(&self) -> bool {
        self.begun
    }

    /// The receiver has all rounds up to this one.
    pub(super) fn acknowledged(&mut self, round: Option<u32>) {
        let Some(acked) = round else { return };
        while self.on_the_way.front().is_some_and(|(round, _)| *round <= acked) {
            self.on_the_way.pop_front();
        }
        self.arrived = self.arrived.max(round);
    }

    /// The last round that was acknowledged.
    pub(super) fn arrived(&self) -> Option<u32> {
        self.arrived
    }

    /// How many rounds are on their way.
    pub(super) fn on_the_way(&self) -> usize {
        self.on_the_way.len()
    }

    /// How many ended rounds a break has swallowed, if the receiver holds this one.
    pub(super) fn swallowed(&self, held: Option<u32>) -> u64 {
        self.on_the_way.iter().filter(|(round, _)| Some(*round) > held).count() as u64
    }

    /// The connection broke, and the receiver holds this round. Returns what was lost.
    pub(super) fn broke(&mut self, held: Option<u32>) -> RoundPages {
        self.acknowledged(held);
        let mut lost = RoundPages::new();
        if held.is_none() || held < self.arrived {
            // It has nothing, or less than it had acknowledged: another file, an older one. What
            // it holds is unknown, and everything goes again.
            let all = self.lost.iter().map(|set| Run { first: 0, count: set.capacity() });
            lost.extend(all.enumerate().map(|(i, run)| (RegionId(i), run)));
            self.arrived = held;
        }
        lost.extend(self.on_the_way.drain(..).flat_map(|(_, pages)| pages));
        lost.append(&mut self.current);
        for &(region, run) in &lost {
            for page in run.first..run.end() {
                self.lost[region.0].insert(page);
            }
        }
        lost
    }

    /// Names what was lost, once. Returns how many pages that is.
    pub(super) fn take_undelivered(&mut self, into: &mut dyn Collector) -> u64 {
        let mut pages = 0;
        for (i, set) in self.lost.iter_mut().enumerate() {
            let count = set.count();
            if count > 0 {
                into.pages(RegionId(i), set.words());
                set.clear();
            }
            pages += count;
        }
        pages
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_pages::{Gpa, PageSize, Region};

    fn in_flight() -> InFlightRounds {
        let page = PageSize::new(512).unwrap();
        InFlightRounds::new(&Layout::new(vec![Region::new("a", Gpa(0), 100 * 512, page).unwrap()]))
    }

    fn take(in_flight: &mut InFlightRounds, pages: &[u64]) {
        pages.iter().for_each(|&first| in_flight.took(RegionId(0), Run { first, count: 1 }));
    }

    struct Named(Vec<u64>);

    impl Collector for Named {
        fn pages(&mut self, _: RegionId, bitmap: &[u64]) {
            let mut set = PageSet::new(100);
            set.insert_words(bitmap);
            self.0.extend(set.iter());
        }
        fn page(&mut self, _: RegionId, page: u64) {
            self.0.push(page);
        }
    }

    fn given_back(in_flight: &mut InFlightRounds) -> Vec<u64> {
        let mut named = Named(Vec::new());
        let count = in_flight.take_undelivered(&mut named);
        assert_eq!(count, named.0.len() as u64);
        named.0
    }

    #[test]
    fn a_break_loses_what_was_not_acknowledged_and_no_more() {
        let mut in_flight = in_flight();
        for round in 0..5 {
            take(&mut in_flight, &[u64::from(round), 50]);
            in_flight.ended(round, true);
        }
        in_flight.acknowledged(Some(1));
        assert_eq!(in_flight.on_the_way(), 3);
        take(&mut in_flight, &[99]);
        // Its acknowledgement of round 2 was lost with the connection.
        assert_eq!(in_flight.swallowed(Some(2)), 2);
        in_flight.broke(Some(2));
        assert_eq!(given_back(&mut in_flight), [3, 4, 50, 99]);
        assert_eq!(given_back(&mut in_flight), [0; 0]);
        assert_eq!(in_flight.on_the_way(), 0);
    }

    #[test]
    fn a_receiver_that_has_forgotten_gets_everything() {
        let everything: Vec<u64> = (0..100).collect();
        for held in [None, Some(0)] {
            let mut in_flight = in_flight();
            for round in 0..3 {
                take(&mut in_flight, &[1]);
                in_flight.ended(round, true);
            }
            in_flight.acknowledged(Some(1));
            in_flight.broke(held);
            assert_eq!(given_back(&mut in_flight), everything);
        }
    }
}
