//! A set of pages: one bit a page in 64-bit words, the layout of the kernel's dirty bitmap.

use std::fmt;

/// A run of neighbouring pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run {
    /// The number of the first page.
    pub first: u64,
    /// How many pages.
    pub count: u64,
}

impl Run {
    /// The number of the page after the last.
    pub fn end(self) -> u64 {
        self.first + self.count
    }

    /// The run cut into pieces of at most `most` pages, in order. Panics if `most` is 0.
    pub fn pieces(self, most: u64) -> impl Iterator<Item = Run> {
        assert!(most > 0, "pieces of no pages");
        (self.first..self.end())
            .step_by(usize::try_from(most).unwrap_or(usize::MAX))
            .map(move |first| Run { first, count: most.min(self.end() - first) })
    }
}

/// A set of page numbers below [`PageSet::capacity`].
///
/// Bit `n % 64` of word `n / 64` stands for page `n`, as in KVM_GET_DIRTY_LOG. Bits past the
/// capacity are never set, whatever comes in: the words can be counted and scanned without a mask.
#[derive(Clone, PartialEq, Eq)]
pub struct PageSet {
    words: Vec<u64>,
    capacity: u64,
}

impl PageSet {
    /// The empty set of pages below `capacity`.
    pub fn new(capacity: u64) -> Self {
        let words = usize::try_from(capacity.div_ceil(64)).unwrap_or(usize::MAX);
        Self { words: vec![0; words], capacity }
    }

    /// One more than the highest page number that the set can hold.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// The set as words, the lowest pages first.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Adds a page. Returns whether it is new. Panics if the page is not below the capacity.
    pub fn insert(&mut self, page: u64) -> bool {
        let (word, bit) = self.position(page);
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        new
    }

    /// Takes a page out. Returns whether it was there. Panics if it is not below the capacity.
    pub fn remove(&mut self, page: u64) -> bool {
        let (word, bit) = self.position(page);
        let there = self.words[word] & bit != 0;
        self.words[word] &= !bit;
        there
    }

    /// Adds a run of pages. Returns how many are new. Panics if it is not below the capacity.
    pub fn insert_run(&mut self, run: Run) -> u64 {
        let mut new = 0;
        self.on_words(run, |word, bits| {
            new += u64::from((bits & !*word).count_ones());
            *word |= bits;
        });
        new
    }

    /// Takes a run of pages out. Panics if it is not below the capacity.
    pub fn remove_run(&mut self, run: Run) {
        self.on_words(run, |word, bits| *word &= !bits);
    }

    /// Every run of neighbouring pages of the set within these pages, in order, each as long as it
    /// can be there.
    pub fn runs_in(&self, pages: Run) -> impl Iterator<Item = Run> {
        let end = pages.end().min(self.capacity);
        let mut next = pages.first;
        std::iter::from_fn(move || {
            let first = self.find_below(next, true, end);
            if first >= end {
                return None;
            }
            next = self.find_below(first, false, end);
            Some(Run { first, count: next - first })
        })
    }

    /// Calls `work` on each word that the run touches, with the run's bits in it.
    fn on_words(&mut self, run: Run, mut work: impl FnMut(&mut u64, u64)) {
        let Run { first, count } = run;
        let end = first + count;
        assert!(end <= self.capacity, "page {end} of a region of {} pages", self.capacity);
        let mut at = first;
        while at < end {
            let (bit, left) = (at % 64, end - at);
            let bits = left.min(64 - bit);
            let mask = u64::MAX >> (64 - bits) << bit;
            work(&mut self.words[(at / 64) as usize], mask);
            at += bits;
        }
    }

    /// Whether the page is in the set. A page past the capacity is not.
    pub fn contains(&self, page: u64) -> bool {
        page < self.capacity && {
            let (word, bit) = self.position(page);
            self.words[word] & bit != 0
        }
    }

    /// Adds every page of a bitmap in the set's own layout. Bits past the capacity are dropped,
    /// missing words count as empty. Returns how many pages are new.
    pub fn insert_words(&mut self, bitmap: &[u64]) -> u64 {
        let mut new = 0;
        let last = self.words.len().wrapping_sub(1);
        let tail = self.tail_mask();
        for (i, (word, &more)) in self.words.iter_mut().zip(bitmap).enumerate() {
            let more = if i == last { more & tail } else { more };
            if more != 0 {
                new += u64::from((more & !*word).count_ones());
                *word |= more;
            }
        }
        new
    }

    /// Adds every page of another set. Returns how many are new. Panics if the capacities differ.
    pub fn union_with(&mut self, other: &PageSet) -> u64 {
        assert_eq!(self.capacity, other.capacity, "sets over regions of different size");
        self.insert_words(&other.words)
    }

    /// Adds every page below the capacity.
    pub fn fill(&mut self) {
        self.words.fill(u64::MAX);
        let tail = self.tail_mask();
        if let Some(last) = self.words.last_mut() {
            *last = tail;
        }
    }

    /// Takes every page out.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// How many pages are in the set.
    pub fn count(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Whether no page is in the set.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// Every page, in order.
    pub fn iter(&self) -> Pages<'_> {
        Pages { words: &self.words, next: 0, rest: self.words.first().copied().unwrap_or(0) }
    }

    /// Every run of neighbouring pages, in order, each as long as it can be.
    pub fn runs(&self) -> Runs<'_> {
        Runs { set: self, next: 0 }
    }

    /// The first page at or after `from` whose membership is `member`, or the capacity.
    fn find(&self, from: u64, member: bool) -> u64 {
        self.find_below(from, member, self.capacity)
    }

    /// The same below `end`, which is the capacity at most; no further is looked.
    fn find_below(&self, from: u64, member: bool, end: u64) -> u64 {
        let mut word = (from / 64) as usize;
        let mut keep = u64::MAX << (from % 64);
        while (word as u64) < end.div_ceil(64) {
            let bits = self.words[word];
            let hits = (if member { bits } else { !bits }) & keep;
            if hits != 0 {
                return (word as u64 * 64 + u64::from(hits.trailing_zeros())).min(end);
            }
            keep = u64::MAX;
            word += 1;
        }
        end
    }

    fn position(&self, page: u64) -> (usize, u64) {
        assert!(page < self.capacity, "page {page} of a region of {} pages", self.capacity);
        ((page / 64) as usize, 1 << (page % 64))
    }

    fn tail_mask(&self) -> u64 {
        match self.capacity % 64 {
            0 => u64::MAX,
            used => (1 << used) - 1,
        }
    }
}

impl fmt::Debug for PageSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.runs().map(|run| run.first..run.end())).finish()
    }
}

impl<'a> IntoIterator for &'a PageSet {
    type Item = u64;
    type IntoIter = Pages<'a>;

    fn into_iter(self) -> Pages<'a> {
        self.iter()
    }
}

/// The pages of a [`PageSet`], in order.
#[derive(Clone, Debug)]
pub struct Pages<'a> {
    words: &'a [u64],
    next: usize,
    rest: u64,
}

impl Iterator for Pages<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        while self.rest == 0 {
            self.next += 1;
            self.rest = *self.words.get(self.next)?;
        }
        let bit = self.rest.trailing_zeros();
        self.rest &= self.rest - 1;
        Some(self.next as u64 * 64 + u64::from(bit))
    }
}

/// The runs of a [`PageSet`], in order.
#[derive(Clone, Debug)]
pub struct Runs<'a> {
    set: &'a PageSet,
    next: u64,
}

impl Iterator for Runs<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        let first = self.set.find(self.next, true);
        if first == self.set.capacity {
            return None;
        }
        let end = self.set.find(first, false);
        self.next = end;
        Some(Run { first, count: end - first })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// A capacity, some pages below it, and a bitmap that may be too long and stray past the end.
    fn cases() -> impl Strategy<Value = (u64, Vec<u64>, Vec<u64>)> {
        (1u64..300).prop_flat_map(|capacity| {
            (
                Just(capacity),
                prop::collection::vec(0..capacity, 0..200),
                prop::collection::vec(any::<u64>(), 0..7),
            )
        })
    }

    proptest! {
        #[test]
        fn behaves_like_a_set_of_numbers((capacity, pages, bitmap) in cases()) {
            let mut set = PageSet::new(capacity);
            let mut model = BTreeSet::new();
            for &page in &pages {
                prop_assert_eq!(set.insert(page), model.insert(page));
            }
            for &page in pages.iter().step_by(3) {
                prop_assert_eq!(set.remove(page), model.remove(&page));
            }
            let named = (0..capacity).filter(|page| {
                bitmap.get((page / 64) as usize).is_some_and(|word| word >> (page % 64) & 1 == 1)
            });
            let new = named.map(|page| u64::from(model.insert(page))).sum::<u64>();
            prop_assert_eq!(set.insert_words(&bitmap), new);

            prop_assert_eq!(set.count(), model.len() as u64);
            prop_assert_eq!(set.is_empty(), model.is_empty());
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            for page in 0..capacity + 65 {
                prop_assert_eq!(set.contains(page), model.contains(&page));
            }
        }

        #[test]
        fn runs_are_the_pages_and_as_long_as_can_be((capacity, pages, bitmap) in cases()) {
            let mut set = PageSet::new(capacity);
            set.insert_words(&bitmap);
            pages.iter().for_each(|&page| { set.insert(page); });
            let runs: Vec<Run> = set.runs().collect();
            let flat: Vec<u64> = runs.iter().flat_map(|run| run.first..run.end()).collect();
            prop_assert_eq!(flat, set.iter().collect::<Vec<_>>());
            prop_assert!(runs.windows(2).all(|pair| pair[0].end() < pair[1].first));
            let pieces: Vec<u64> = runs.iter()
                .flat_map(|run| run.pieces(7))
                .inspect(|piece| assert!((1..=7).contains(&piece.count)))
                .flat_map(|piece| piece.first..piece.end())
                .collect();
            prop_assert_eq!(pieces, set.iter().collect::<Vec<_>>());
        }

        #[test]
        fn runs_go_in_and_out_like_their_pages(
            (capacity, pages, _) in cases(),
            ends in prop::collection::vec((0u64..300, 0u64..300), 1..8),
        ) {
            let mut set = PageSet::new(capacity);
            pages.iter().for_each(|&page| { set.insert(page); });
            for (i, (one, other)) in ends.into_iter().enumerate() {
                let (one, other) = (one.min(capacity), other.min(capacity));
                let run = Run { first: one.min(other), count: one.abs_diff(other) };
                let within: Vec<u64> =
                    set.iter().filter(|page| (run.first..run.end()).contains(page)).collect();
                let runs: Vec<Run> = set.runs_in(run).collect();
                prop_assert!(runs.windows(2).all(|pair| pair[0].end() < pair[1].first));
                prop_assert_eq!(
                    runs.iter().flat_map(|run| run.first..run.end()).collect::<Vec<_>>(),
                    within.clone()
                );
                let mut model = set.clone();
                for page in run.first..run.end() {
                    if i % 2 == 0 { model.insert(page) } else { model.remove(page) };
                }
                if i % 2 == 0 {
                    prop_assert_eq!(set.insert_run(run), run.count - within.len() as u64);
                } else {
                    set.remove_run(run);
                }
                prop_assert_eq!(&set, &model);
            }
        }

        #[test]
        fn full_means_every_page_and_no_more(capacity in 0u64..300) {
            let mut set = PageSet::new(capacity);
            set.fill();
            prop_assert_eq!(set.count(), capacity);
            prop_assert!(!set.contains(capacity));
            set.clear();
            prop_assert!(set.is_empty());
        }
    }

    #[test]
    #[should_panic(expected = "page 256 of a region of 256 pages")]
    fn a_page_past_the_end_is_a_bug_of_the_caller() {
        PageSet::new(256).insert(256);
    }
}
