//! Memory of which only that part exists which is not zero.
//!
//! In a mapped memory file (memfd_create(2)) a hole reads as zeros, but a read through a mapping
//! allots its page like a write does (shmem_fault in mm/shmem.c). So this side knows which pages
//! were ever written, reads no other, and leaves zeros out that are written into a hole: a guest's
//! untouched memory costs nothing in its twin, also when the twin is compared.

use memtwin_mapping::{MapError, Mapping, MappingAdvice, host_page_size};
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

/// A memory file's bytes: written by one, read by any number.
///
/// A reader sees what was written before it looked; the two are kept apart by who owns it, as the
/// twin stands still while it is judged.
#[derive(Debug)]
pub struct SparseMemory {
    mapping: Mapping,
    page: usize,
    /// A bit for each of the host's pages: whether it may exist.
    exists: Vec<AtomicU64>,
}

impl SparseMemory {
    /// The first `len` bytes of an empty memory file.
    ///
    /// Errors: no address space.
    pub(crate) fn new(file: &File, len: u64) -> Result<Self, MapError> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let page = host_page_size();
        let mapping = Mapping::shared(file.as_fd(), len, 1)?;
        let words = len.div_ceil(page).div_ceil(u64::BITS as usize);
        Ok(Self { mapping, page, exists: (0..words).map(|_| AtomicU64::new(0)).collect() })
    }

    /// Copies bytes out. Panics past the end.
    pub fn read(&self, offset: usize, into: &mut [u8]) {
        for (at, range) in self.pieces(offset, into.len()) {
            match self.exists(at) {
                true => self.mapping.read(at, &mut into[range]),
                false => into[range].fill(0),
            }
        }
    }

    /// Whether the bytes from `offset` on are `bytes`. Both must be whole, aligned 64-bit words.
    /// Panics past the end.
    pub fn equals(&self, offset: usize, bytes: &[u8]) -> bool {
        self.pieces(offset, bytes.len()).all(|(at, range)| match self.exists(at) {
            true => self.mapping.equals(at, &bytes[range]),
            false => is_zero(&bytes[range]),
        })
    }

    /// Copies bytes in, but zeros into a hole. Returns how many bytes of memory came to exist.
    /// Panics past the end.
    ///
    /// Errors: there is no memory.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) -> Result<u64, MapError> {
        let mut grown = 0;
        let mut pieces = self.pieces(offset, bytes.len()).peekable();
        while let Some((at, range)) = pieces.next() {
            if !self.exists(at) && is_zero(&bytes[range.clone()]) {
                continue;
            }
            // Neighbours that are to be written go with it, in one request each.
            let mut new = usize::from(!self.exists(at));
            let mut end = range.end;
            while let Some((at, range)) =
                pieces.next_if(|(at, range)| self.exists(*at) || !is_zero(&bytes[range.clone()]))
            {
                new += usize::from(!self.exists(at));
                end = range.end;
            }
            if new > 0 {
                self.allot(at, end - range.start)?;
                grown += (new * self.page) as u64;
            }
            self.mapping.write(at, &bytes[range.start..end]);
        }
        Ok(grown)
    }

    /// Hints that these bytes will be touched soon.
    pub(crate) fn prefetch(&self, offset: usize, len: usize) {
        self.mapping.prefetch(offset, len);
    }

    /// Makes all pages of these bytes exist: at once, which takes half as long as one by one, and
    /// with an error where a store would be a signal.
    fn allot(&self, at: usize, len: usize) -> Result<(), MapError> {
        let first = at - at % self.page;
        let end = (at + len).next_multiple_of(self.page).min(self.mapping.len());
        match self.mapping.advise(MappingAdvice::PopulateWrite, first, end - first) {
            // A kernel before 5.14 does not know the request: then the stores do it.
            Err(error) if error.errno.kind() != ErrorKind::InvalidInput => return Err(error),
            _ => {}
        }
        for page in first / self.page..end.div_ceil(self.page) {
            let word = &self.exists[page / u64::BITS as usize];
            word.fetch_or(1 << (page % u64::BITS as usize), Ordering::Relaxed);
        }
        Ok(())
    }

    fn exists(&self, at: usize) -> bool {
        let page = at / self.page;
        let word = self.exists[page / u64::BITS as usize].load(Ordering::Relaxed);
        word >> (page % u64::BITS as usize) & 1 == 1
    }

    /// The parts of `len` bytes at `offset` by pages of the host: where each lies here, and among
    /// the bytes.
    fn pieces(
        &self,
        offset: usize,
        len: usize,
    ) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> + use<> {
        let (page, mut done) = (self.page, 0);
        std::iter::from_fn(move || {
            let at = offset + done;
            let piece = (page - at % page).min(len - done);
            let range = done..done + piece;
            done += piece;
            (piece > 0).then_some((at, range))
        })
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(64).all(|line| line.iter().fold(0, |seen, byte| seen | byte) == 0)
}
