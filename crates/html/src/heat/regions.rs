//! What is known of where in its regions a case dirtied and lost pages.

use memtwin_report::record::{Case, HeatMap, LostPage, RegionEntry};
use std::collections::{HashMap, HashSet};

/// A region, and what was found in it.
#[derive(Clone, Debug)]
pub(crate) struct RegionHeat<'r> {
    /// The region.
    pub(crate) entry: &'r RegionEntry,
    /// The bytes of a page; at least 1.
    pub(crate) page_size: u64,
    /// How many pages it has; at least 1.
    pub(crate) pages: u64,
    /// How many pages a bucket has, of its heat or of one that it would have.
    pub(crate) pages_per_bucket: u64,
    /// The numbers of the lost pages that nobody injected, sorted.
    pub(crate) lost: Vec<u64>,
    /// Those that were injected and found.
    pub(crate) found: Vec<u64>,
}

impl<'r> RegionHeat<'r> {
    /// The regions of a case that have a page, those with lost pages first, then the larger ones.
    pub(crate) fn of(case: &'r Case) -> Vec<Self> {
        // Without a page size there are no pages to draw.
        let Some(page_size) = Some(case.page_size()).filter(|size| *size > 0) else {
            return Vec::new();
        };
        let mut regions: Vec<Self> = Vec::new();
        let mut by_name: HashMap<&str, usize> = HashMap::new();
        for entry in case.regions().iter().filter(|entry| entry.bytes >= page_size) {
            by_name.entry(&entry.name).or_insert(regions.len());
            let pages = entry.bytes / page_size;
            let heat = entry.heat.as_ref();
            let pages_per_bucket = heat.map_or_else(
                || HeatMap::of_pages(pages).pages_per_bucket,
                |heat| heat.pages_per_bucket,
            );
            let (lost, found) = (Vec::new(), Vec::new());
            regions.push(Self { entry, page_size, pages, pages_per_bucket, lost, found });
        }
        let injected: HashSet<(&str, u64)> = case
            .control()
            .iter()
            .flat_map(|control| &control.injected)
            .map(|page| (page.region.as_str(), page.gpa.0))
            .collect();
        for page in case.lost() {
            let at = by_name.get(page.region.as_str()).copied();
            let Some(region) = at.and_then(|at| regions.get_mut(at)) else { continue };
            let Some(number) = region.number(page) else { continue };
            let is_injected = injected.contains(&(page.region.as_str(), page.gpa.0));
            (if is_injected { &mut region.found } else { &mut region.lost }).push(number);
        }
        for region in &mut regions {
            region.lost.sort_unstable();
            region.found.sort_unstable();
        }
        regions.sort_by_key(|region| {
            std::cmp::Reverse((!region.lost.is_empty(), !region.found.is_empty(), region.pages))
        });
        regions
    }

    /// Whether something is known of where in it pages were dirtied or lost.
    pub(crate) fn is_drawn(&self) -> bool {
        self.entry.heat.is_some() || !self.lost.is_empty() || !self.found.is_empty()
    }

    /// The number of a page of it, if it is one.
    fn number(&self, page: &LostPage) -> Option<u64> {
        let offset = match &page.detail {
            Some(detail) => detail.offset,
            None => page.gpa.0.checked_sub(self.entry.gpa.0)?,
        };
        Some(offset / self.page_size).filter(|number| *number < self.pages)
    }

    /// The address at which a page begins.
    pub(crate) fn address(&self, page: u64) -> String {
        let offset = page.saturating_mul(self.page_size);
        format!("{:#x}", self.entry.gpa.0.saturating_add(offset))
    }

    /// How often pages from `first` on, so many, were dirtied and falsely dirtied. Known of whole buckets only.
    pub(crate) fn heat(&self, first: u64, pages: u64) -> Option<(u64, u64)> {
        let heat = self.entry.heat.as_ref()?;
        if pages < self.pages_per_bucket {
            return None;
        }
        let bucket =
            |page: u64| usize::try_from(page / self.pages_per_bucket).unwrap_or(usize::MAX);
        let (from, to) = (bucket(first), bucket(first.saturating_add(pages)));
        let sum = |counts: &[u64]| {
            let counts = counts.get(from..to.min(counts.len())).unwrap_or_default();
            counts.iter().fold(0, |sum: u64, count| sum.saturating_add(*count))
        };
        Some((sum(&heat.dirty), sum(&heat.false_dirty)))
    }
}

/// How many of these sorted pages lie from `first` on among so many.
pub(crate) fn within(sorted: &[u64], first: u64, pages: u64) -> u64 {
    let below = |end: u64| sorted.partition_point(|page| *page < end) as u64;
    below(first.saturating_add(pages)) - below(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_counted_where_they_lie() {
        let pages = [3, 7, 7, 9];
        assert_eq!(within(&pages, 0, 4), 1);
        assert_eq!(within(&pages, 4, 5), 2);
        assert_eq!(within(&pages, 9, u64::MAX), 1);
        assert_eq!(within(&[], 0, 10), 0);
    }

    #[test]
    fn of_a_part_of_a_bucket_no_heat_is_known() {
        let heat =
            HeatMap { dirty: vec![5, 7], false_dirty: vec![1, 2], ..HeatMap::of_pages(1500) };
        let mut entry = RegionEntry {
            name: "ram".to_owned(),
            gpa: memtwin_pages::Gpa(0),
            bytes: 1500 * 4096,
            heat: Some(heat),
        };
        let of = |entry: &RegionEntry, pages| {
            let region = RegionHeat {
                entry,
                page_size: 4096,
                pages: 1500,
                pages_per_bucket: 2,
                lost: Vec::new(),
                found: Vec::new(),
            };
            region.heat(0, pages)
        };
        assert_eq!(of(&entry, 2), Some((5, 1)));
        assert_eq!(of(&entry, 4), Some((12, 3)));
        assert_eq!(of(&entry, 1), None);
        entry.heat = None;
        assert_eq!(of(&entry, 2), None);
    }
}
