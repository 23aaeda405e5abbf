//! A walk over all memory, a chunk at a time, again and again.

use crate::discards::DiscardWatch;
use crate::read_twin::TwinPart;
use memtwin_pages::{Image, Layout, PageSet, PageSize, RegionId, Run};
use memtwin_qemu::BlockMemory;
use memtwin_replicate::{RoundError, SourceError};
use memtwin_verdict::{Discards, SuspectTracker};
use std::time::{Duration, Instant};

/// How many bytes are read at once: they stay in a core's cache until they are compared.
const CHUNK_BYTES: u64 = 256 << 10;
/// A reader that was held up does not hurry for longer than this.
const MOST_BEHIND: Duration = Duration::from_millis(200);

/// Where the walk is, and what it has seen.
pub(super) struct Sweep {
    /// The next page.
    region: usize,
    page: u64,
    sweeps: u32,
    /// What was known of the region's discarded memory when the walk came to it.
    known: Discards,
    /// What is to be read of the region after its walk.
    touched: Vec<Run>,
    /// Whether that is known.
    looked_again: bool,
    /// The bytes of the last chunk that was read.
    bytes: Vec<u8>,
    scratch: Vec<u8>,
    /// How many bytes of the last chunk were fetched from the guest's memory, not yet counted for its pace.
    fetched: u64,
    /// When the next chunk may be read, from what was read before.
    next: Instant,
    began: Option<Instant>,
    read: u64,
    compared: Vec<u64>,
    missing: Vec<PageSet>,
    discarded: Vec<PageSet>,
}

impl Sweep {
    /// Nothing was read yet.
    pub(super) fn new(layout: &Layout) -> Self {
        let none = || layout.iter().map(|(_, region)| PageSet::new(region.pages())).collect();
        Self {
            region: 0,
            page: 0,
            sweeps: 0,
            known: Discards::none(),
            touched: Vec::new(),
            looked_again: false,
            bytes: Vec::new(),
            scratch: Vec::new(),
            fetched: 0,
            next: Instant::now(),
            began: None,
            read: 0,
            compared: vec![0; layout.len()],
            missing: none(),
            discarded: none(),
        }
    }

    /// How often all memory was read.
    pub(super) fn sweeps(&self) -> u32 {
        self.sweeps
    }

    /// Bytes that were fetched in a second, from the first to the last.
    pub(super) fn bytes_per_second(&self) -> u64 {
        let seconds = self.began.map_or(0.0, |began| began.elapsed().as_secs_f64());
        if seconds > 0.0 { (self.read as f64 / seconds) as u64 } else { 0 }
    }

    /// How many pages of a region were compared, each as often as it was.
    pub(super) fn compared(&self, region: RegionId) -> u64 {
        self.compared[region.0]
    }

    /// Pages of a region that QEMU has not sent and that are not as the twin has them.
    pub(super) fn missing(&self, region: RegionId) -> &PageSet {
        &self.missing[region.0]
    }

    /// Pages of a region that the guest gave up and has not written since.
    pub(super) fn discarded(&self, region: RegionId) -> &PageSet {
        &self.discarded[region.0]
    }

    /// When the next chunk may be read at this rate, in bytes a second. Pages without memory cost nothing.
    pub(super) fn due(&mut self, rate: u64) -> Instant {
        let now = Instant::now();
        let time = Duration::from_secs_f64(self.fetched as f64 / rate.max(1) as f64);
        self.fetched = 0;
        let earliest = now.checked_sub(MOST_BEHIND).unwrap_or(now);
        self.next = (self.next + time).max(earliest);
        self.next
    }

    /// The pages that are to be read next. Those of a region that had no memory and have some when it was
    /// walked through are among them.
    pub(super) fn next(&mut self, layout: &Layout, discards: &DiscardWatch<'_>) -> (RegionId, Run) {
        loop {
            let id = RegionId(self.region);
            let region = layout.region(id);
            let most = (CHUNK_BYTES / region.page_size().bytes()).max(1);
            if self.page == 0 {
                self.known = discards.at_stop(id, None);
            }
            if self.page < region.pages() {
                let count = most.min(region.pages() - self.page);
                let pages = Run { first: self.page, count };
                self.page = pages.end();
                return (id, pages);
            }
            if !self.looked_again {
                self.looked_again = true;
                self.look_again(id, discards, most);
            }
            if let Some(pages) = self.touched.pop() {
                return (id, pages);
            }
            (self.region, self.page, self.looked_again) = (self.region + 1, 0, false);
            if self.region == layout.len() {
                self.region = 0;
                self.sweeps += 1;
            }
        }
    }

    /// Which pages of a region have memory now and had none when the walk came to it.
    fn look_again(&mut self, id: RegionId, discards: &DiscardWatch<'_>, most: u64) {
        let now = discards.at_stop(id, None);
        let mut touched = self.known.absent().clone();
        touched.subtract(now.absent());
        self.touched = touched.runs().flat_map(|run| run.pieces(most)).collect();
        self.known = now;
    }

    /// The bytes of the pages that were read last; of those that have no memory, zeros.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The log has named these pages, by region.
    pub(super) fn named(&mut self, named: &[PageSet]) {
        for sets in [&mut self.missing, &mut self.discarded] {
            sets.iter_mut().zip(named).for_each(|(set, named)| set.subtract(named));
        }
    }

    /// Reads these pages, and compares them with the twin's.
    ///
    /// Errors: the memory can't be read.
    pub(super) fn read(
        &mut self,
        (memory, twin): (&BlockMemory, &TwinPart),
        (id, pages, page_size): (RegionId, Run, PageSize),
        not_sent: &PageSet,
        suspects: &mut SuspectTracker,
    ) -> Result<(), RoundError> {
        let failed = |error: std::io::Error| SourceError::Memory(Box::new(error));
        let page_len = page_size.as_usize();
        let offset = page_size.offset_of(pages.first);
        self.bytes.resize(pages.count as usize * page_len, 0);
        self.read_present(memory, pages, page_size).map_err(failed)?;
        self.began.get_or_insert_with(Instant::now);
        self.read += self.fetched;
        self.compared[id.0] += pages.count;
        if twin.is_at(offset, &self.bytes, &mut self.scratch).map_err(failed)? {
            suspects.equal(id, pages);
            return Ok(());
        }
        for (page, bytes) in (pages.first..).zip(self.bytes.chunks(page_len)) {
            let at = page_size.offset_of(page);
            if twin.is_at(at, bytes, &mut self.scratch).map_err(failed)? {
                suspects.equal(id, Run { first: page, count: 1 });
            } else if self.known.emptied(page) && bytes.iter().all(|byte| *byte == 0) {
                self.discarded[id.0].insert(page);
            } else if not_sent.contains(page) {
                self.missing[id.0].insert(page);
            } else {
                suspects.differs(id, page);
            }
        }
        Ok(())
    }

    /// Reads the pages that have memory; the others are zeros, and are not touched.
    fn read_present(
        &mut self,
        memory: &BlockMemory,
        pages: Run,
        page_size: PageSize,
    ) -> std::io::Result<()> {
        let page_len = page_size.as_usize();
        let mut page = pages.first;
        while page < pages.end() {
            let gone = self.known.is_absent(page);
            let mut end = page + 1;
            while end < pages.end() && self.known.is_absent(end) == gone {
                end += 1;
            }
            let (from, to) = (page - pages.first, end - pages.first);
            let bytes = &mut self.bytes[from as usize * page_len..to as usize * page_len];
            match gone {
                true => bytes.fill(0),
                false => {
                    memory.read_at(page_size.offset_of(page), bytes)?;
                    self.fetched += bytes.len() as u64;
                }
            }
            page = end;
        }
        Ok(())
    }
}
