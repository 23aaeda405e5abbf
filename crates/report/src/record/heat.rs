//! Where in a region pages were dirtied: counts in at most 1,024 buckets.

use memtwin_pages::PageSet;
use serde::{Deserialize, Serialize};

/// How many buckets a region has at most.
pub const MAX_BUCKETS: u64 = 1024;

/// Where in a region pages were dirtied, falsely dirtied and lost, from its first page on. Bucket `i` is of
/// the pages from `i * pages_per_bucket`; the last one may have fewer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HeatMap {
    /// How many pages a bucket has: a power of two.
    pub pages_per_bucket: u64,
    /// How often the log named a page of each bucket, in all rounds after pre-copy.
    pub dirty: Vec<u64>,
    /// How many pages of each bucket were copied after pre-copy although they were in the twin already.
    pub false_dirty: Vec<u64>,
    /// How many pages of each bucket are among the case's `lost`.
    pub lost: Vec<u64>,
}

impl HeatMap {
    /// Nothing yet, of a region of this many pages.
    pub fn of_pages(pages: u64) -> Self {
        let pages_per_bucket = pages.div_ceil(MAX_BUCKETS).max(1).next_power_of_two();
        let buckets = usize::try_from(pages.div_ceil(pages_per_bucket)).unwrap_or(0);
        let none = vec![0; buckets];
        Self { pages_per_bucket, dirty: none.clone(), false_dirty: none.clone(), lost: none }
    }

    /// As many buckets, with nothing in them.
    pub(crate) fn emptied(&self) -> Self {
        let none = vec![0; self.dirty.len()];
        let pages_per_bucket = self.pages_per_bucket;
        Self { pages_per_bucket, dirty: none.clone(), false_dirty: none.clone(), lost: none }
    }

    /// Adds what another one of the same region has counted.
    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.dirty, &other.dirty),
            (&mut self.false_dirty, &other.false_dirty),
            (&mut self.lost, &other.lost),
        ];
        for (into, from) in pairs {
            into.iter_mut().zip(from).for_each(|(into, from)| *into = into.saturating_add(*from));
        }
    }

    /// Counts pages that the log named.
    pub fn add_dirty(&mut self, pages: &PageSet) {
        count(pages, self.pages_per_bucket, &mut self.dirty);
    }

    /// Counts pages that were in the twin already.
    pub fn add_false_dirty(&mut self, pages: &PageSet) {
        count(pages, self.pages_per_bucket, &mut self.false_dirty);
    }

    /// Counts a lost page. One that is no page of the region is not counted.
    pub fn add_lost(&mut self, page: u64) {
        let bucket =
            page.checked_div(self.pages_per_bucket).and_then(|at| usize::try_from(at).ok());
        if let Some(count) = bucket.and_then(|at| self.lost.get_mut(at)) {
            *count += 1;
        }
    }

    /// Whether it has the buckets that a region of this many pages has.
    pub(super) fn fits(&self, pages: u64) -> bool {
        let Self { pages_per_bucket, dirty, false_dirty, lost } = self;
        let buckets = pages.div_ceil((*pages_per_bucket).max(1));
        pages_per_bucket.is_power_of_two()
            && buckets <= MAX_BUCKETS
            && [dirty, false_dirty, lost].iter().all(|counts| counts.len() as u64 == buckets)
    }
}

/// Adds the pages of each bucket. A bucket is a part of a word, or whole words.
fn count(pages: &PageSet, per_bucket: u64, into: &mut [u64]) {
    let bits = u64::from(u64::BITS);
    for (n, &word) in pages.words().iter().enumerate().filter(|(_, word)| **word != 0) {
        let first = n as u64 * bits;
        let mut left = word;
        while left != 0 {
            let bucket = (first + u64::from(left.trailing_zeros())) / per_bucket;
            // The bits of this bucket that are in this word.
            let end = ((bucket + 1) * per_bucket - first).min(bits);
            let below = if end == bits { u64::MAX } else { (1 << end) - 1 };
            if let Some(count) = usize::try_from(bucket).ok().and_then(|at| into.get_mut(at)) {
                *count += u64::from((left & below).count_ones());
            }
            left &= !below;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_of_any_size_has_few_buckets() {
        for (pages, per_bucket, buckets) in [
            (0, 1, 0),
            (1, 1, 1),
            (256, 1, 256),
            (1024, 1, 1024),
            (1025, 2, 513),
            (1 << 28, 1 << 18, 1024),
        ] {
            let heat = HeatMap::of_pages(pages);
            assert_eq!((heat.pages_per_bucket, heat.dirty.len()), (per_bucket, buckets), "{pages}");
            assert!(heat.fits(pages));
            assert!(!heat.fits(pages + per_bucket));
        }
    }

    /// Against the plain way, page by page.
    #[test]
    fn each_page_counts_in_its_bucket() {
        for pages in [200, 1024, 5000, 70_000, 200_000] {
            let mut set = PageSet::new(pages);
            let mut heat = HeatMap::of_pages(pages);
            let mut expected = heat.dirty.clone();
            for page in
                (0..pages).filter(|page| page % 7 == 0 || page % 64 == 63 || *page == pages - 1)
            {
                set.insert(page);
                expected[(page / heat.pages_per_bucket) as usize] += 1;
            }
            heat.add_dirty(&set);
            assert_eq!(heat.dirty, expected, "{pages}");
            heat.add_false_dirty(&set);
            heat.add_false_dirty(&set);
            assert_eq!(heat.false_dirty.iter().sum::<u64>(), 2 * set.count());
        }
    }

    #[test]
    fn a_page_outside_is_not_counted() {
        let mut heat = HeatMap::of_pages(10);
        heat.add_lost(9);
        heat.add_lost(10);
        assert_eq!(heat.lost.iter().sum::<u64>(), 1);
    }
}
