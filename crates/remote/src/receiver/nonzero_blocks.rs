//! Which blocks of an image may hold anything but zeros: one bit a block.
//!
//! A ZERO record of a few bytes can name all of a large image. Only what was written since it was
//! last zero has to be zeroed, so all zeroing together writes no more than what came as bytes, and
//! once the image of a receiver that was killed.

use memtwin_pages::{PageSet, RegionId, Run};
use memtwin_wire::TwinShape;

/// The blocks that may hold anything but zeros.
#[derive(Debug)]
pub(super) struct NonzeroBlocks(Vec<PageSet>);

impl NonzeroBlocks {
    /// Of a new file.
    pub(super) fn nothing(shape: &TwinShape) -> Self {
        Self(shape.counts().map(PageSet::new).collect())
    }

    /// Of a file of which nothing is known.
    pub(super) fn everything(shape: &TwinShape) -> Self {
        let mut this = Self::nothing(shape);
        this.0.iter_mut().for_each(PageSet::fill);
        this
    }

    /// These blocks are written.
    pub(super) fn note(&mut self, region: RegionId, blocks: Run) {
        self.0[region.0].insert_run(blocks);
    }

    /// Calls `zero` on each run of these blocks that was written; all of them are zero then.
    pub(super) fn clear<E>(
        &mut self,
        region: RegionId,
        blocks: Run,
        mut zero: impl FnMut(Run) -> Result<(), E>,
    ) -> Result<(), E> {
        let set = &mut self.0[region.0];
        set.runs_in(blocks).try_for_each(&mut zero)?;
        set.remove_run(blocks);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_pages::{Gpa, Layout, PageSize, Region};

    #[test]
    fn a_block_is_zeroed_once_for_each_time_that_it_is_written() {
        let page = PageSize::new(4096).unwrap();
        let region = Region::new("a", Gpa(0), 1000 * 4096, page).unwrap();
        let shape = TwinShape::of(&Layout::new(vec![region]));
        let all = Run { first: 0, count: 1000 };
        let zeroed = |written: &mut NonzeroBlocks| {
            let mut blocks = 0;
            for _ in 0..1000 {
                let count = |run: Run| {
                    blocks += run.count;
                    Ok::<_, ()>(())
                };
                written.clear(RegionId(0), all, count).unwrap();
            }
            blocks
        };
        let mut written = NonzeroBlocks::nothing(&shape);
        assert_eq!(zeroed(&mut written), 0);
        written.note(RegionId(0), Run { first: 3, count: 5 });
        written.note(RegionId(0), Run { first: 999, count: 1 });
        assert_eq!(zeroed(&mut written), 6);
        assert_eq!(zeroed(&mut NonzeroBlocks::everything(&shape)), 1000);
    }
}
