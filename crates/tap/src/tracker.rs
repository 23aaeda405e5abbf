//! What a stream of pages says of QEMU's rounds: it does not mark them, but a round shows in the
//! order of its pages.

use memtwin_pages::RegionId;
use memtwin_replicate::{PageReceiver, SinkError};
use memtwin_stream::{BlockEntry, SectionKind, StreamVisitor};

/// A place in QEMU's walk over all blocks: block, and offset in it.
type Place = (usize, u64);

/// What has come since [`RoundTracker::begin`].
///
/// QEMU walks over its dirty bitmap in the order of blocks and offsets, and begins again at the end
/// (`find_dirty_block()` in migration/ram.c). So a page before the last one shows that it has begun
/// again, and when it comes by the place where a round began, everything that was dirty then has
/// been sent.
#[derive(Debug, Default)]
pub(crate) struct RoundTracker {
    began_at: Option<Place>,
    at: Option<Place>,
    turns: u32,
    /// Page records.
    pub(crate) pages: u64,
    /// Closed sections.
    pub(crate) sections: u64,
    /// Whether the last closed section had no page.
    pub(crate) empty: bool,
}

impl RoundTracker {
    /// Begins a round here.
    pub(crate) fn begin(&mut self) {
        *self = Self { began_at: self.at, at: self.at, ..Self::default() };
    }

    /// Whether QEMU has come by where the round began: everything that was pending then was sent.
    pub(crate) fn is_once_around(&self) -> bool {
        self.turns > 1 || (self.turns == 1 && self.at >= self.began_at)
    }

    fn page(&mut self, place: Place) {
        self.turns += u32::from(self.at.is_some_and(|at| place <= at));
        self.at = Some(place);
        self.pages += 1;
    }
}

/// What is known of the collections of QEMU's log.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    /// Whether anybody asks.
    pub(crate) is_followed: bool,
    /// The last one of which all pages have come.
    pub(crate) delivered: u64,
    /// Whether as many pages had come in the last round as QEMU had sent.
    pub(crate) counts_agree: bool,
}

/// Hands the pages of a stream over, and watches.
pub(crate) struct StreamReceiver<'r> {
    pub(crate) into: &'r mut dyn PageReceiver,
    pub(crate) watch: &'r mut RoundTracker,
    /// Which region each block is.
    pub(crate) regions: &'r [Option<RegionId>],
    pub(crate) page_shift: u32,
}

impl StreamVisitor for StreamReceiver<'_> {
    type Error = SinkError;

    fn blocks(&mut self, _blocks: &[BlockEntry]) -> Result<(), SinkError> {
        // Once for each stream, and this one has said it.
        Ok(())
    }

    fn page(&mut self, block: usize, offset: u64, bytes: &[u8]) -> Result<(), SinkError> {
        self.watch.page((block, offset));
        match self.regions[block] {
            Some(region) => self.into.pages(region, offset >> self.page_shift, bytes),
            None => Ok(()),
        }
    }

    fn fill(&mut self, block: usize, offset: u64, byte: u8) -> Result<(), SinkError> {
        self.watch.page((block, offset));
        match self.regions[block] {
            Some(region) => self.into.filled(region, offset >> self.page_shift, byte),
            None => Ok(()),
        }
    }

    fn section(&mut self, _kind: SectionKind, pages: u64) -> Result<(), SinkError> {
        self.watch.sections += 1;
        self.watch.empty = pages == 0;
        Ok(())
    }
}

/// Waits for the list of blocks and takes nothing else.
#[derive(Debug, Default)]
pub(crate) struct BlockListReader {
    pub(crate) machine: String,
    pub(crate) blocks: Option<Vec<BlockEntry>>,
    /// The dirty bitmaps that are migrated along, each with the name of its node.
    pub(crate) bitmaps: Vec<(String, String)>,
    pub(crate) bitmaps_listed: bool,
    /// Whether pre-copy has begun: a list that has not come by then does not come.
    pub(crate) has_begun: bool,
}

impl StreamVisitor for BlockListReader {
    type Error = std::convert::Infallible;

    fn machine(&mut self, name: &str) {
        name.clone_into(&mut self.machine);
    }

    fn blocks(&mut self, blocks: &[BlockEntry]) -> Result<(), Self::Error> {
        self.blocks = Some(blocks.to_vec());
        Ok(())
    }

    fn bitmap(&mut self, node: &str, name: &str) -> Result<(), Self::Error> {
        self.bitmaps.push((node.to_owned(), name.to_owned()));
        Ok(())
    }

    fn bitmaps_listed(&mut self) -> Result<(), Self::Error> {
        self.bitmaps_listed = true;
        Ok(())
    }

    fn page(&mut self, _: usize, _: u64, _: &[u8]) -> Result<(), Self::Error> {
        self.has_begun = true;
        Ok(())
    }

    fn fill(&mut self, _: usize, _: u64, _: u8) -> Result<(), Self::Error> {
        self.has_begun = true;
        Ok(())
    }

    fn section(&mut self, kind: SectionKind, _: u64) -> Result<(), Self::Error> {
        self.has_begun |= kind != SectionKind::Start;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Page numbers of one block, that before the round first.
    fn watched(began_after: u64, pages: &[u64]) -> bool {
        let mut watch = RoundTracker::default();
        watch.page((0, began_after));
        watch.begin();
        pages.iter().for_each(|&page| watch.page((0, page)));
        watch.is_once_around()
    }

    #[test]
    fn a_round_is_once_around() {
        assert!(!watched(0, &[1, 2, 9]), "the first turn");
        assert!(watched(0, &[1, 9, 0]), "once around");
        assert!(!watched(5, &[6, 9, 0, 4]), "not yet where it began");
        assert!(watched(5, &[6, 0, 4, 5]), "where it began");
        assert!(watched(5, &[6, 0, 1, 0]), "twice around");
        assert!(watched(5, &[3, 5]), "anew with its first page");
        assert!(!watched(5, &[]), "nothing at all");
    }

    #[test]
    fn pre_copy_begins_with_no_page_before_it() {
        let mut watch = RoundTracker::default();
        watch.begin();
        [0, 1, 7].into_iter().for_each(|page| watch.page((0, page)));
        watch.page((1, 0));
        assert!(!watch.is_once_around());
        watch.page((0, 3));
        assert!(watch.is_once_around());
    }
}
