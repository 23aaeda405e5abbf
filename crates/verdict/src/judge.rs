//! The work of a comparison: both images are read once, chunk by chunk, by a few workers in turn.
//!
//! A worker copies its chunk of both images, looks for pages that differ, and takes the digests on
//! over it when its turn comes. It does all of this by itself, one after the other, so the chunk
//! stays in its core's own cache; meanwhile the others are at the chunks before and after. Memory
//! is bounded, but for the list of pages that differ.

use crate::baton::Baton;
use crate::bsd::BsdSum;
use crate::compare::MOST_PAGE_BYTES;
use crate::digest::DigestPair;
use crate::{CompareError, Comparison, Difference, ImageDigests, Side};
use memtwin_pages::{Image, PageSize};
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::thread;

/// How many bytes of each image a worker takes at once: both copies fit a core's second-level
/// cache. A power of two, so that no page lies across two chunks unless it is larger than one.
const CHUNK_BYTES: usize = 256 << 10;

/// The BSD checksum is half of all the work and goes byte after byte: more workers than these
/// would wait for it.
const MOST_WORKERS: usize = 4;

/// A comparison to be made.
pub(crate) struct Judge<'i> {
    memory: SidedImage<'i>,
    twin: SidedImage<'i>,
    page_size: PageSize,
    pub(crate) chunk_bytes: usize,
    pub(crate) workers: usize,
}

type Blake3 = Box<DigestPair<blake3::Hasher>>;
type Sum = DigestPair<BsdSum>;

/// What a worker ends with: the pages it found, and the digests if they came to it last.
struct WorkerResult {
    differing: Vec<Difference>,
    digests: Option<(Blake3, Sum)>,
}

impl<'i> Judge<'i> {
    pub(crate) fn new(
        memory: &'i dyn Image,
        twin: &'i dyn Image,
        page_size: PageSize,
    ) -> Result<Self, CompareError> {
        if page_size.bytes() > MOST_PAGE_BYTES {
            return Err(CompareError::PageSize { page_size });
        }
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Ok(Self {
            memory: SidedImage::new(Side::Memory, memory)?,
            twin: SidedImage::new(Side::Twin, twin)?,
            page_size,
            chunk_bytes: CHUNK_BYTES,
            workers: cores.min(MOST_WORKERS),
        })
    }

    /// How many bytes the memory has, and the twin.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.memory.bytes, self.twin.bytes)
    }

    pub(crate) fn run(&self) -> Result<Comparison, CompareError> {
        let workers = usize::try_from(self.chunks()).map_or(self.workers, |n| n.min(self.workers));
        let blake3 = Baton::ring(workers, Blake3::default());
        let sums = Baton::ring(workers, Sum::default());
        let shifts: Result<Vec<WorkerResult>, CompareError> = thread::scope(|scope| {
            let mut started = Vec::with_capacity(workers);
            for (first, (blake3, sum)) in blake3.into_iter().zip(sums).enumerate() {
                // A worker that ends, however it does, drops its places in the rings with it.
                let work = move || self.work(first as u64, workers, &blake3, &sum);
                let thread = thread::Builder::new().spawn_scoped(scope, work);
                started.push(thread.map_err(CompareError::Thread)?);
            }
            started
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
                .collect()
        });
        Ok(self.conclude(shifts?))
    }

    fn chunks(&self) -> u64 {
        self.memory.bytes.max(self.twin.bytes).div_ceil(self.chunk_bytes as u64)
    }

    /// Goes through every `workers`th chunk from `first` on.
    fn work(
        &self,
        first: u64,
        workers: usize,
        blake3s: &Baton<Blake3>,
        sums: &Baton<Sum>,
    ) -> Result<WorkerResult, CompareError> {
        let (mut memory, mut twin) = (vec![0; self.chunk_bytes], vec![0; self.chunk_bytes]);
        let mut shift = WorkerResult { differing: Vec::new(), digests: None };
        for chunk in (first..self.chunks()).step_by(workers) {
            let offset = chunk * self.chunk_bytes as u64;
            let memory = self.memory.copy(offset, &mut memory)?;
            let twin = self.twin.copy(offset, &mut twin)?;
            let equal = memory == twin;
            if !equal {
                self.find(offset, memory, twin, &mut shift.differing);
            }
            let Some(mut blake3) = blake3s.take() else { return Ok(shift) };
            blake3.take_in(memory, twin, equal);
            blake3s.pass(blake3);
            let Some(mut sum) = sums.take() else { return Ok(shift) };
            sum.take_in(memory, twin, equal);
            sums.pass(sum);
        }
        // Whose turn would be next is the one to whom the digests went from the last chunk.
        if self.chunks() % workers as u64 == first {
            shift.digests = blake3s.take().zip(sums.take());
        }
        Ok(shift)
    }

    /// Adds every page that differs, or part of a page if the chunk is smaller.
    fn find(&self, offset: u64, memory: &[u8], twin: &[u8], differing: &mut Vec<Difference>) {
        let part = self.page_size.as_usize().min(self.chunk_bytes);
        // Where one image has ended there are no more pages to compare: the shorter one decides.
        let common = memory.len().min(twin.len());
        let parts = memory[..common].chunks(part).zip(twin[..common].chunks(part));
        for (at, (memory, twin)) in (offset..).step_by(part).zip(parts) {
            if memory != twin {
                let page = self.page_size.page_of(at);
                let in_page = (at - self.page_size.offset_of(page)) as u32;
                differing.extend(Difference::between(page, in_page, memory, twin));
            }
        }
    }

    /// Puts together what the workers found.
    fn conclude(&self, shifts: Vec<WorkerResult>) -> Comparison {
        let mut differing = Vec::new();
        let mut digests = None;
        for mut shift in shifts {
            differing.append(&mut shift.differing);
            digests = digests.or(shift.digests);
        }
        differing.sort_unstable_by_key(|found| (found.page, found.first_byte));
        differing.dedup_by(|later, found| {
            let same = later.page == found.page;
            if same {
                found.absorb(later);
            }
            same
        });
        let Some((blake3, sum)) = digests else {
            unreachable!("a worker without an error, and the digests did not come to the end");
        };
        let (blake3, sum) = (blake3.both(), sum.both());
        let digests = |blake3: &blake3::Hasher, sum: &BsdSum| ImageDigests {
            blake3: blake3.finalize(),
            bsd_sum: sum.value(),
        };
        Comparison {
            memory_bytes: self.memory.bytes,
            twin_bytes: self.twin.bytes,
            pages: self.page_size.pages_for(self.memory.bytes.min(self.twin.bytes)),
            differing,
            memory: digests(blake3.0, sum.0),
            twin: digests(blake3.1, sum.1),
        }
    }
}

/// One image, and which.
struct SidedImage<'i> {
    side: Side,
    image: &'i dyn Image,
    bytes: u64,
}

impl<'i> SidedImage<'i> {
    fn new(side: Side, image: &'i dyn Image) -> Result<Self, CompareError> {
        match image.len() {
            Ok(0) => Err(CompareError::Empty { side }),
            Ok(bytes) => Ok(Self { side, image, bytes }),
            Err(cause) => Err(CompareError::Size { side, cause }),
        }
    }

    /// Copies what the image has from `offset` on, as much as fits the buffer.
    fn copy<'b>(&self, offset: u64, buffer: &'b mut [u8]) -> Result<&'b [u8], CompareError> {
        let left = self.bytes.saturating_sub(offset);
        let len = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let into = &mut buffer[..len];
        if len > 0 {
            self.image.read_at(offset, into).map_err(|cause| CompareError::Read {
                side: self.side,
                offset,
                len,
                cause,
            })?;
        }
        Ok(into)
    }
}
