//! A comparison in two parts, for a guest that must not stand still for long: while it does, its
//! memory is read once and every page that differs from the twin is kept; the rest of the work
//! (ranges, digests, the verdict) is done from there, when the guest runs again.
//!
//! Sound because a page that was equal *is* the twin's page, and the twin does not change: what
//! the memory was can be put together from the twin and the pages that were kept.
//!
//! Pages that the guest gave up meanwhile ([`Discards`]) are derived from those that the log lost.

use crate::compare::MOST_PAGE_BYTES;
use crate::{CompareError, Discards, Overlay, Side};
use memtwin_pages::{Image, PageSet, PageSize};
use std::io;
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// How many bytes a worker reads at once: they stay in its core's own cache until compared.
const CHUNK_BYTES: u64 = 256 << 10;

/// More workers than these wait for memory rather than for a core.
const MOST_WORKERS: usize = 8;

/// A memory that was captured.
#[derive(Debug)]
pub struct Captured<'t, T: ?Sized> {
    /// The memory as it was: its twin, overlaid with the pages that are not the twin's. Discarded
    /// pages are as in the twin: they are no part of the verdict.
    pub memory: Overlay<'t, T>,
    /// The pages whose memory was discarded after the twin got them, and that the twin still has as
    /// they were.
    pub discarded: PageSet,
}

/// Reads the whole memory once and keeps every page that is not the twin's. Pages that have no
/// memory are not read (reading may allot some): they are zeros.
///
/// A page is discarded, and not kept, if it was emptied after the twin got it *and still reads as
/// zero*: one that was written since is judged like any other.
///
/// Errors: the two are not of one size, one of them is empty or can't be read, the page size is
/// over 2 GiB, or there are no threads to be had.
pub fn capture<'t, T: Image + ?Sized>(
    memory: &dyn Image,
    twin: &'t T,
    page_size: PageSize,
    discards: &Discards,
) -> Result<Captured<'t, T>, CompareError> {
    if page_size.bytes() > MOST_PAGE_BYTES {
        return Err(CompareError::PageSize { page_size });
    }
    let size = |side, bytes: io::Result<u64>| match bytes {
        Ok(0) => Err(CompareError::Empty { side }),
        Ok(bytes) => Ok(bytes),
        Err(cause) => Err(CompareError::Size { side, cause }),
    };
    let bytes = size(Side::Memory, memory.len())?;
    match size(Side::Twin, twin.len())? {
        other if other != bytes => return Err(CompareError::Sizes { memory: bytes, twin: other }),
        _ => {}
    }
    let work = CaptureWork {
        memory,
        twin,
        bytes,
        page_size,
        discards,
        next: AtomicU64::new(0),
        failed: AtomicBool::new(false),
    };
    let CapturedPages { differing, discarded: gone } = work.run()?;
    let mut discarded = PageSet::new(page_size.pages_for(bytes));
    gone.into_iter().for_each(|page| {
        discarded.insert(page);
    });
    let pages = differing.into_iter().collect();
    Ok(Captured { memory: Overlay::of(twin, bytes, page_size, pages), discarded })
}

/// The reading, shared by the workers.
struct CaptureWork<'i, T: ?Sized> {
    memory: &'i dyn Image,
    twin: &'i T,
    bytes: u64,
    page_size: PageSize,
    discards: &'i Discards,
    next: AtomicU64,
    failed: AtomicBool,
}

/// What differs from the twin.
#[derive(Default)]
struct CapturedPages {
    differing: Vec<(u64, Box<[u8]>)>,
    discarded: Vec<u64>,
}

impl CapturedPages {
    fn append(mut self, mut more: Self) -> Self {
        self.differing.append(&mut more.differing);
        self.discarded.append(&mut more.discarded);
        self
    }
}

impl<T: Image + ?Sized> CaptureWork<'_, T> {
    fn run(&self) -> Result<CapturedPages, CompareError> {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let workers = cores.min(MOST_WORKERS).min(self.chunks().try_into().unwrap_or(usize::MAX));
        let kept: Result<Vec<CapturedPages>, CompareError> = thread::scope(|scope| {
            let mut started = Vec::with_capacity(workers);
            for _ in 0..workers {
                let thread = thread::Builder::new().spawn_scoped(scope, || self.work());
                started.push(thread.map_err(|errno| {
                    self.failed.store(true, Ordering::Relaxed);
                    CompareError::Thread(errno)
                })?);
            }
            started
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
                .collect()
        });
        Ok(kept?.into_iter().fold(CapturedPages::default(), CapturedPages::append))
    }

    /// A whole number of pages.
    fn chunk_bytes(&self) -> u64 {
        CHUNK_BYTES.max(self.page_size.bytes())
    }

    fn chunks(&self) -> u64 {
        self.bytes.div_ceil(self.chunk_bytes())
    }

    /// Takes chunk after chunk until there is none, or another worker has failed.
    fn work(&self) -> Result<CapturedPages, CompareError> {
        let chunk_bytes = self.chunk_bytes();
        let (mut memory, mut scratch) = (vec![0; chunk_bytes as usize], Vec::new());
        let mut kept = CapturedPages::default();
        while !self.failed.load(Ordering::Relaxed) {
            let chunk = self.next.fetch_add(1, Ordering::Relaxed);
            if chunk >= self.chunks() {
                break;
            }
            let offset = chunk * chunk_bytes;
            let len = chunk_bytes.min(self.bytes - offset) as usize;
            let done = self.chunk(offset, &mut memory[..len], &mut scratch, &mut kept);
            if done.is_err() {
                self.failed.store(true, Ordering::Relaxed);
            }
            done?;
        }
        Ok(kept)
    }

    fn chunk(
        &self,
        offset: u64,
        memory: &mut [u8],
        scratch: &mut Vec<u8>,
        kept: &mut CapturedPages,
    ) -> Result<(), CompareError> {
        let len = memory.len();
        let failed = |side| move |cause| CompareError::Read { side, offset, len, cause };
        self.read(offset, memory).map_err(failed(Side::Memory))?;
        if self.twin.is_at(offset, memory, scratch).map_err(failed(Side::Twin))? {
            return Ok(());
        }
        let page_len = self.page_size.as_usize();
        for (at, page) in (offset..).step_by(page_len).zip(memory.chunks(page_len)) {
            if !self.twin.is_at(at, page, scratch).map_err(failed(Side::Twin))? {
                let number = self.page_size.page_of(at);
                if self.discards.emptied(number) && is_zero(page) {
                    kept.discarded.push(number);
                } else {
                    kept.differing.push((number, page.into()));
                }
            }
        }
        Ok(())
    }

    /// Reads from this page's beginning on; pages that have no memory are zeros and are not touched.
    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let page_len = self.page_size.as_usize();
        let absent =
            |at: usize| self.discards.is_absent(self.page_size.page_of(offset + at as u64));
        let mut at = 0;
        while at < into.len() {
            let gone = absent(at);
            let mut end = at + page_len;
            while end < into.len() && absent(end) == gone {
                end += page_len;
            }
            let end = end.min(into.len());
            match gone {
                true => into[at..end].fill(0),
                false => self.memory.read_at(offset + at as u64, &mut into[at..end])?,
            }
            at = end;
        }
        Ok(())
    }
}

/// Whether a page has no byte but zeros.
fn is_zero(page: &[u8]) -> bool {
    page.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests;
