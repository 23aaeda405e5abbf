//! The dirty log of another process's window: protected pages, and the scan that finds which of
//! them are no longer.

use crate::LogError;
use crate::abi::PageRegion;
use crate::pagemap::Pagemap;
use crate::uffd::Userfaultfd;
use memtwin_pages::{PageSize, RegionId};
use memtwin_replicate::Collector;

/// The window's place in the layout.
pub(crate) const WINDOW_REGION: RegionId = RegionId(0);

/// How many ranges of pages one request may report. The kernel gathers 512 at a time; a few
/// times that keeps the requests few and the answer in the first-level cache.
const REPORTED: usize = 1024;

/// The dirty log of a window.
#[derive(Debug)]
pub(crate) struct ProcessLog {
    uffd: Userfaultfd,
    pagemap: Pagemap,
    start: u64,
    bytes: u64,
    page_size: PageSize,
    on: bool,
    reported: Vec<PageRegion>,
    named: Vec<u64>,
}

impl ProcessLog {
    /// The log of `bytes` bytes at `start` of the process that made the userfaultfd and that the
    /// pagemap is of. Off.
    pub(crate) fn new(
        uffd: Userfaultfd,
        pagemap: Pagemap,
        start: u64,
        bytes: u64,
        page_size: PageSize,
    ) -> Self {
        let words = page_size.pages_for(bytes).div_ceil(64);
        Self {
            uffd,
            pagemap,
            start,
            bytes,
            page_size,
            on: false,
            reported: vec![PageRegion::default(); REPORTED],
            named: vec![0; usize::try_from(words).unwrap_or(usize::MAX)],
        }
    }

    /// Switches it on: when this returns, every write will be named.
    pub(crate) fn start(&mut self) -> Result<(), LogError> {
        // Noted first: if the second request fails, there is something to switch off.
        self.on = true;
        self.uffd.register(self.start, self.bytes).map_err(|error| match error.errno() {
            Some(libc::EINVAL) => LogError::NotShared,
            _ => error,
        })?;
        self.uffd.protect(self.start, self.bytes)
    }

    /// Names every page written since the last time. Also those found before an error are named.
    pub(crate) fn collect(&mut self, into: &mut dyn Collector) -> Result<(), LogError> {
        let (mut from, to) = (self.start, self.start + self.bytes);
        let mut any = false;
        let outcome = loop {
            if from >= to {
                break Ok(());
            }
            let scan = self.pagemap.take_written(from, to, &mut self.reported);
            let count = *scan.outcome.as_ref().unwrap_or(&REPORTED);
            for found in self.reported.iter().take(count).take_while(|found| found.end != 0) {
                let first = self.page_of(found.start.max(self.start));
                let end = self.page_of(found.end.min(to));
                name(&mut self.named, first, end);
                any = true;
            }
            match scan.outcome {
                Err(errno) => break Err(LogError::of("PAGEMAP_SCAN")(errno)),
                Ok(_) if scan.end <= from => {
                    break Err(LogError::Stuck { from, to, at: scan.end });
                }
                Ok(_) => from = scan.end,
            }
        };
        if any {
            into.pages(WINDOW_REGION, &self.named);
            self.named.fill(0);
        }
        outcome
    }

    /// Errors if the process is gone. An ending process gives up its memory before it counts as
    /// ended, and a scan of what is left finds nothing written: without this a log would look
    /// clean because the guest is dead.
    pub(crate) fn confirm(&self) -> Result<(), LogError> {
        if self.on { self.uffd.register(self.start, self.bytes) } else { Ok(()) }
    }

    /// Switches it off. Does nothing when it is.
    pub(crate) fn stop(&mut self) -> Result<(), LogError> {
        if self.on {
            self.uffd.unregister(self.start, self.bytes)?;
            self.on = false;
        }
        Ok(())
    }

    fn page_of(&self, address: u64) -> u64 {
        self.page_size.page_of(address - self.start)
    }
}

/// Adds the pages from `first` up to `end` to a bitmap.
fn name(bitmap: &mut [u64], first: u64, end: u64) {
    let mut page = first;
    while page < end {
        let count = (64 - page % 64).min(end - page);
        let mask = (u64::MAX >> (64 - count)) << (page % 64);
        bitmap[(page / 64) as usize] |= mask;
        page += count;
    }
}

#[cfg(test)]
mod tests;
