//! Which of the pages that a sink took it had already.

/// Bits of a word.
const BITS: u64 = u64::BITS as u64;

/// Which of the pages of one [`Sink::write`](crate::Sink::write) were in the twin already, byte for byte:
/// by their number among them. Needs no memory of its own for the first 64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SamePages {
    first: u64,
    more: Vec<u64>,
}

impl SamePages {
    /// Notes a page.
    pub fn insert(&mut self, page: u64) {
        let (word, bit) = (page / BITS, 1 << (page % BITS));
        let Some(at) = word.checked_sub(1).and_then(|at| usize::try_from(at).ok()) else {
            self.first |= bit;
            return;
        };
        if self.more.len() <= at {
            self.more.resize(at + 1, 0);
        }
        self.more[at] |= bit;
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.words().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Each of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.words().zip(0..).flat_map(|(word, n)| {
            let mut left = word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| u64::from(left.trailing_zeros()))?;
                left &= left - 1;
                Some(n * BITS + bit)
            })
        })
    }

    fn words(&self) -> impl Iterator<Item = u64> {
        std::iter::once(self.first).chain(self.more.iter().copied())
    }
}

impl FromIterator<u64> for SamePages {
    fn from_iter<I: IntoIterator<Item = u64>>(pages: I) -> Self {
        let mut same = Self::default();
        pages.into_iter().for_each(|page| same.insert(page));
        same
    }
}

#[cfg(test)]
mod tests {
    use super::SamePages;

    #[test]
    fn what_was_noted_comes_back_once_and_in_order() {
        let pages = [0, 3, 63, 64, 65, 127, 128, 300];
        let same: SamePages = pages.into_iter().rev().chain([63]).collect();
        assert_eq!(same.iter().collect::<Vec<_>>(), pages);
        assert_eq!(same.count(), pages.len() as u64);
        assert_eq!(SamePages::default().iter().count(), 0);
    }
}
