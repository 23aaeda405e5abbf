//! The sender's copy of the twin: what the receiver holds, or will when all on its way is there. Not
//! necessarily of all of it: what is not known is sent whole.

use memtwin_pages::{PageSet, RegionId, Run};
use memtwin_wire::TwinShape;

/// A copy of the twin, of the guest's memory in size; memory that is not written costs nothing.
#[derive(Debug)]
pub(super) struct TwinShadow {
    regions: Vec<ShadowRegion>,
}

#[derive(Debug)]
struct ShadowRegion {
    block: usize,
    per_page: u64,
    bytes: Vec<u8>,
    /// The blocks of which we know what the twin holds.
    known: PageSet,
}

/// What the twin holds of a block.
#[derive(Debug)]
pub(super) enum KnownBlock<'s> {
    /// This. Change it to what is sent.
    This(&'s mut [u8]),
    /// Nobody knows. If that was wanted, it was noted what it will hold.
    Nothing,
}

impl TwinShadow {
    pub(super) fn new(shape: &TwinShape) -> Self {
        let region = |(i, count): (usize, u64)| {
            let id = RegionId(i);
            let block = shape.block(id);
            let len = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(block);
            ShadowRegion {
                block,
                per_page: shape.per_page(id),
                bytes: vec![0; len],
                known: PageSet::new(count),
            }
        };
        Self { regions: shape.counts().enumerate().map(region).collect() }
    }

    /// What the twin holds of a block, of which `new` is to be sent now; `note`: and is to be noted,
    /// if nobody knows what it holds.
    pub(super) fn look(
        &mut self,
        region: RegionId,
        block: u64,
        new: &[u8],
        note: bool,
    ) -> KnownBlock<'_> {
        let region = &mut self.regions[region.0];
        let at = block as usize * region.block;
        let old = &mut region.bytes[at..at + region.block];
        if region.known.contains(block) {
            return KnownBlock::This(old);
        }
        if note {
            region.known.insert(block);
            old.copy_from_slice(new);
        }
        KnownBlock::Nothing
    }

    /// Hints that these pages will be looked at next.
    pub(super) fn prefetch(&self, region: RegionId, pages: Run) {
        let region = &self.regions[region.0];
        let page = region.block * region.per_page as usize;
        let range = pages.first as usize * page..pages.end() as usize * page;
        if let Some(bytes) = region.bytes.get(range) {
            memtwin_mapping::prefetch(bytes);
        }
    }

    /// What the twin holds of these pages is no longer known.
    pub(super) fn forget(&mut self, region: RegionId, pages: Run) {
        let region = &mut self.regions[region.0];
        for block in pages.first * region.per_page..pages.end() * region.per_page {
            region.known.remove(block);
        }
    }
}

/// Whether a block is all zero.
pub(super) fn is_zero(block: &[u8]) -> bool {
    // A line at a time: most blocks show in the first one that they are not.
    block.chunks(64).all(|reconnector| reconnector.iter().fold(0, |seen, byte| seen | byte) == 0)
}
