//! An image that is another one with some pages replaced.

use memtwin_pages::{Image, PageSize};
use std::collections::BTreeMap;
use std::io;

/// An image, and the pages in which this one differs from it.
///
/// The image below must not change while this one is used.
#[derive(Debug)]
pub struct Overlay<'i, T: ?Sized> {
    below: &'i T,
    bytes: u64,
    page_size: PageSize,
    pages: BTreeMap<u64, Box<[u8]>>,
}

impl<'i, T: Image + ?Sized> Overlay<'i, T> {
    /// `below`, with these pages in place of its own. Errors: `below` does not say its length.
    pub fn new(
        below: &'i T,
        page_size: PageSize,
        pages: BTreeMap<u64, Box<[u8]>>,
    ) -> io::Result<Self> {
        Ok(Self::of(below, below.len()?, page_size, pages))
    }

    pub(crate) fn of(
        below: &'i T,
        bytes: u64,
        page_size: PageSize,
        pages: BTreeMap<u64, Box<[u8]>>,
    ) -> Self {
        Self { below, bytes, page_size, pages }
    }

    /// The replaced pages, and what is in their place.
    pub fn pages(&self) -> impl ExactSizeIterator<Item = (u64, &[u8])> {
        self.pages.iter().map(|(&page, bytes)| (page, &**bytes))
    }

    /// The replaced pages, without what is below: for one that outlives its borrow.
    pub fn into_pages(self) -> BTreeMap<u64, Box<[u8]>> {
        self.pages
    }

    /// What is in place of a page; `None` if it was not replaced.
    pub fn page(&self, page: u64) -> Option<&[u8]> {
        self.pages.get(&page).map(|bytes| &**bytes)
    }
}

impl<T: Image + ?Sized> Image for Overlay<'_, T> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.below.read_at(offset, into)?;
        let end = offset + into.len() as u64;
        let first = self.page_size.page_of(offset);
        for (&page, bytes) in self.pages.range(first..self.page_size.pages_for(end)) {
            let begins = self.page_size.offset_of(page);
            let from = begins.max(offset);
            let to = (begins + bytes.len() as u64).min(end);
            if from < to {
                into[(from - offset) as usize..(to - offset) as usize]
                    .copy_from_slice(&bytes[(from - begins) as usize..(to - begins) as usize]);
            }
        }
        Ok(())
    }
}
