//! What is known of a region's pages whose memory was discarded while it was replicated: given back by
//! the guest, and taken by the hypervisor, neither of which is a write that a log would name.

use memtwin_pages::PageSet;

/// The pages of a region that were emptied.
#[derive(Clone, Debug)]
pub struct Discards {
    absent: PageSet,
    emptied: PageSet,
}

impl Discards {
    /// Nothing was discarded.
    pub fn none() -> Self {
        Self { absent: PageSet::new(0), emptied: PageSet::new(0) }
    }

    /// `absent`: pages that have no memory now; they read as zeros. `emptied`: pages that had none at
    /// some time *after the twin last got them*; which those without memory now are in any case.
    ///
    /// Panics if the two are not of one size.
    pub fn new(absent: PageSet, mut emptied: PageSet) -> Self {
        emptied.union_with(&absent);
        Self { absent, emptied }
    }

    /// The pages that have no memory.
    pub fn absent(&self) -> &PageSet {
        &self.absent
    }

    /// Whether a page has no memory.
    pub fn is_absent(&self, page: u64) -> bool {
        self.absent.contains(page)
    }

    /// Whether a page had no memory at some time since the twin got it.
    pub fn emptied(&self, page: u64) -> bool {
        self.emptied.contains(page)
    }
}
