//! A comparison in two parts, for a guest that must not stand still for long: while it does, its
//! memory is read once and every page that differs from the twin is kept; the rest of the work
//! (ranges, digests, the verdict) is done from there, when the guest runs again.
//!
//! Sound because a page that was equal *is* the twin's page, and the twin does not change: what
//! the memory was can be put together from the twin and the pages that were kept.

use crate::compare::MOST_PAGE_BYTES;
use crate::{CompareError, Image, Overlay, Side};
use memtwin_pages::PageSize;
use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// How many bytes a worker reads at once: they stay in its core's own cache until compared.
const CHUNK_BYTES: u64 = 256 << 10;

/// More workers than these wait for memory rather than for a core.
const MOST_WORKERS: usize = 8;

/// Reads the whole memory once and keeps every page that is not the twin's. Returns the memory as
/// it was: its twin, overlaid with these pages.
///
/// Errors: the two are not of one size, one of them is empty or can't be read, the page size is
/// over 2 GiB, or there are no threads to be had.
pub fn capture<'t, T: Image + ?Sized>(
    memory: &dyn Image,
    twin: &'t T,
    page_size: PageSize,
) -> Result<Overlay<'t, T>, CompareError> {
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
    let work = Work {
        memory,
        twin,
        bytes,
        page_size,
        next: AtomicU64::new(0),
        failed: AtomicBool::new(false),
    };
    Ok(Overlay::of(twin, bytes, page_size, work.run()?))
}

/// The reading, shared by the workers.
struct Work<'i, T: ?Sized> {
    memory: &'i dyn Image,
    twin: &'i T,
    bytes: u64,
    page_size: PageSize,
    next: AtomicU64,
    failed: AtomicBool,
}

type Kept = Vec<(u64, Box<[u8]>)>;

impl<T: Image + ?Sized> Work<'_, T> {
    fn run(&self) -> Result<BTreeMap<u64, Box<[u8]>>, CompareError> {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let workers = cores.min(MOST_WORKERS).min(self.chunks().try_into().unwrap_or(usize::MAX));
        let kept: Result<Vec<Kept>, CompareError> = thread::scope(|scope| {
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
        Ok(kept?.into_iter().flatten().collect())
    }

    /// A whole number of pages.
    fn chunk_bytes(&self) -> u64 {
        CHUNK_BYTES.max(self.page_size.bytes())
    }

    fn chunks(&self) -> u64 {
        self.bytes.div_ceil(self.chunk_bytes())
    }

    /// Takes chunk after chunk until there is none, or another worker has failed.
    fn work(&self) -> Result<Kept, CompareError> {
        let chunk_bytes = self.chunk_bytes();
        let (mut memory, mut scratch) = (vec![0; chunk_bytes as usize], Vec::new());
        let mut kept = Vec::new();
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
        kept: &mut Kept,
    ) -> Result<(), CompareError> {
        let len = memory.len();
        let failed = |side| move |cause| CompareError::Read { side, offset, len, cause };
        self.memory.read_at(offset, memory).map_err(failed(Side::Memory))?;
        if self.twin.is_at(offset, memory, scratch).map_err(failed(Side::Twin))? {
            return Ok(());
        }
        let page_len = self.page_size.as_usize();
        for (at, page) in (offset..).step_by(page_len).zip(memory.chunks(page_len)) {
            if !self.twin.is_at(at, page, scratch).map_err(failed(Side::Twin))? {
                kept.push((self.page_size.page_of(at), page.into()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare;
    use proptest::prelude::*;

    const PAGE: usize = 512;

    fn page_size() -> PageSize {
        PageSize::new(PAGE as u64).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(30))]

        /// What is put together is the memory, and the verdict over it is the verdict over it.
        #[test]
        fn the_parts_are_the_whole(
            len in 1..(3 * CHUNK_BYTES as usize),
            flips in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let twin: Vec<u8> = (0..len).map(|at| (at / 7) as u8).collect();
            let mut memory = twin.clone();
            for flip in &flips {
                memory[flip.index(len)] ^= 0x10;
            }
            let captured = capture(&memory, &twin, page_size()).unwrap();
            let mut read = vec![0; len];
            captured.read_at(0, &mut read).unwrap();
            prop_assert!(read == memory);
            let cut = len / 3;
            captured.read_at(cut as u64, &mut read[..len - cut]).unwrap();
            prop_assert!(read[..len - cut] == memory[cut..]);
            let direct = compare(&memory, &twin, page_size()).unwrap();
            let from_parts = compare(&captured, &twin, page_size()).unwrap();
            prop_assert_eq!(captured.pages().len(), direct.differing.len());
            for found in &direct.differing {
                prop_assert!(captured.page(found.page).is_some());
            }
            prop_assert_eq!(from_parts, direct);
        }
    }

    #[test]
    fn what_can_not_be_compared_is_an_error() {
        let captured = |memory: &[u8], twin: &[u8]| {
            capture(&memory, twin, page_size()).map(|captured| captured.pages().len())
        };
        assert!(matches!(captured(&[1, 2], &[1]), Err(CompareError::Sizes { memory: 2, twin: 1 })));
        assert!(matches!(captured(&[], &[1]), Err(CompareError::Empty { side: Side::Memory })));
        assert!(matches!(captured(&[1], &[]), Err(CompareError::Empty { side: Side::Twin })));
        assert_eq!(captured(&[1], &[1]).unwrap(), 0);

        /// Says that it is longer than it is.
        struct Short;
        impl Image for Short {
            fn len(&self) -> io::Result<u64> {
                Ok(1 << 20)
            }
            fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
                [0_u8; 4096].as_slice().read_at(offset, into)
            }
        }
        let twin = vec![0; 1 << 20];
        let error = capture(&Short, &twin, page_size()).unwrap_err();
        assert!(matches!(error, CompareError::Read { side: Side::Memory, .. }), "{error}");
    }
}
