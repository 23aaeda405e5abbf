//! Which pages `dirtyram` dirties: in each batch `dirty` of them, `pages / dirty` apart. The batch
//! moves on by one page each time, so that every page gets its turn: a load that dirtied the same
//! pages again and again would be an easier guest to migrate than its rate says.

/// A load that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Nothing to dirty.
    #[error("{what} is 0, expected at least 1")]
    Nothing {
        /// PAGES or DIRTY.
        what: &'static str,
    },
    /// More pages to dirty than there are.
    #[error("DIRTY is {dirty}, expected at most PAGES, which is {pages}")]
    TooMany {
        /// Pages to dirty in each interval.
        dirty: u64,
        /// Pages that there are.
        pages: u64,
    },
}

/// The pages of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLoad {
    pages: u64,
    dirty: u64,
}

impl PageLoad {
    /// A load of this many pages, of which it dirties some in each batch.
    ///
    /// Errors: zero of either, or more dirty ones than there are.
    pub fn new(pages: u64, dirty: u64) -> Result<Self, LoadError> {
        match (pages, dirty) {
            (0, _) => Err(LoadError::Nothing { what: "PAGES" }),
            (_, 0) => Err(LoadError::Nothing { what: "DIRTY" }),
            _ if dirty > pages => Err(LoadError::TooMany { dirty, pages }),
            _ => Ok(Self { pages, dirty }),
        }
    }

    /// The pages that there are.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// The pages of each batch.
    pub fn dirty(&self) -> u64 {
        self.dirty
    }

    /// The pages of the `n`th batch: different ones, each less than [`PageLoad::pages`].
    pub fn batch(&self, n: u64) -> impl Iterator<Item = u64> + use<> {
        let Self { pages, dirty } = *self;
        let step = pages / dirty;
        let first = n % pages;
        // No sum overflows: all are less than twice the pages, and memory has no 2^63 of them.
        (0..dirty).map(move |i| (first + i * step) % pages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_first_batches_of_a_small_load() {
        let load = PageLoad::new(8, 2).unwrap();
        let batch = |n| load.batch(n).collect::<Vec<_>>();
        assert_eq!(batch(0), [0, 4]);
        assert_eq!(batch(1), [1, 5]);
        assert_eq!(batch(3), [3, 7]);
        assert_eq!(batch(4), [4, 0]);
    }

    #[test]
    fn the_load_of_2014_comes_by_each_page_in_200_batches() {
        let load = PageLoad::new(409_600, 2048).unwrap();
        let pages: BTreeSet<u64> = (0..200).flat_map(|n| load.batch(n)).collect();
        assert_eq!(pages.len(), 409_600);
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(PageLoad::new(0, 1), Err(LoadError::Nothing { what: "PAGES" }));
        assert_eq!(PageLoad::new(1, 0), Err(LoadError::Nothing { what: "DIRTY" }));
        assert_eq!(PageLoad::new(4, 5), Err(LoadError::TooMany { dirty: 5, pages: 4 }));
    }

    proptest! {
        #[test]
        fn a_batch_has_so_many_different_pages_and_all_get_their_turn(
            pages in 1u64..600, part in 0.0f64..1.0,
        ) {
            let dirty = 1 + (part * (pages - 1) as f64) as u64;
            let load = PageLoad::new(pages, dirty).unwrap();
            for n in [0, 1, pages, 3 * pages + 1] {
                let batch: BTreeSet<u64> = load.batch(n).collect();
                prop_assert_eq!(batch.len() as u64, dirty);
                prop_assert!(batch.iter().all(|&page| page < pages));
            }
            let all: BTreeSet<u64> = (0..pages).flat_map(|n| load.batch(n)).collect();
            prop_assert_eq!(all.len() as u64, pages);
        }
    }
}
