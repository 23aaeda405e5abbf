//! The blocks of a layout: what records count in.

use crate::WireError;
use memtwin_pages::{Layout, RegionId};

/// The largest block, so that a few fit a frame whatever a page is.
const MOST_BLOCK: u64 = 64 << 10;

/// How a layout is divided into blocks, and where its regions lie in a file: one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwinShape {
    regions: Vec<BlockIndex>,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BlockIndex {
    shift: u32,
    per_page: u64,
    count: u64,
    offset: u64,
}

impl TwinShape {
    /// The blocks of this layout.
    pub fn of(layout: &Layout) -> Self {
        let mut offset = 0;
        let regions = layout.iter().map(|(_, region)| {
            let block = region.page_size().bytes().min(MOST_BLOCK);
            let blocks = BlockIndex {
                shift: block.trailing_zeros(),
                per_page: region.page_size().bytes() / block,
                count: region.bytes() / block,
                offset,
            };
            offset += region.bytes();
            blocks
        });
        Self { regions: regions.collect(), bytes: layout.bytes() }
    }

    /// How many bytes all regions have together.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many blocks all regions have together.
    pub fn blocks(&self) -> u64 {
        self.regions.iter().map(|region| region.count).sum()
    }

    /// Every region's number of blocks, in order.
    pub fn counts(&self) -> impl Iterator<Item = u64> {
        self.regions.iter().map(|region| region.count)
    }

    /// How many bytes a block of the region has. Panics if the layout has no such region.
    pub fn block(&self, region: RegionId) -> usize {
        1 << self.regions[region.0].shift
    }

    /// How many blocks the region has. Panics if the layout has no such region.
    pub fn count(&self, region: RegionId) -> u64 {
        self.regions[region.0].count
    }

    /// How many blocks a page of the region has. Panics if the layout has no such region.
    pub fn per_page(&self, region: RegionId) -> u64 {
        self.regions[region.0].per_page
    }

    /// Where a block begins in the file. Panics if the layout has no such region.
    pub fn offset(&self, region: RegionId, block: u64) -> u64 {
        let blocks = self.regions[region.0];
        blocks.offset + (block << blocks.shift)
    }

    /// The region and its blocks, if they are there.
    pub(crate) fn check(&self, region: u64, first: u64, count: u64) -> Result<RegionId, WireError> {
        let what = "a region's number";
        let unknown = WireError::Range { what, got: region, expected: "one of the layout's" };
        let index = usize::try_from(region).map_err(|_| unknown.clone())?;
        let blocks = self.regions.get(index).ok_or(unknown)?.count;
        match first.checked_add(count) {
            Some(end) if count > 0 && end <= blocks => Ok(RegionId(index)),
            end => {
                let end = end.unwrap_or(u64::MAX);
                Err(WireError::Blocks { region, first, end, blocks })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_pages::{Gpa, PageSize, Region};

    #[test]
    fn large_pages_are_several_blocks() {
        let region = |name, bytes, page| {
            Region::new(name, Gpa(0), bytes, PageSize::new(page).unwrap()).unwrap()
        };
        let shape = TwinShape::of(&Layout::new(vec![
            region("small", 8 * 512, 512),
            region("huge", 2 << 21, 1 << 21),
        ]));
        assert_eq!(shape.counts().collect::<Vec<_>>(), [8, 64]);
        assert_eq!((shape.per_page(RegionId(0)), shape.per_page(RegionId(1))), (1, 32));
        assert_eq!(shape.offset(RegionId(1), 1), 8 * 512 + (64 << 10));
        assert!(shape.check(1, 63, 1).is_ok());
        for (region, first, count) in
            [(2, 0, 1), (1, 64, 1), (1, 0, 65), (0, u64::MAX, 2), (0, 0, 0)]
        {
            assert!(shape.check(region, first, count).is_err());
        }
    }
}
