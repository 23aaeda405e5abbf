//! Reading and writing memory that a guest may write at the same time.
//!
//! A guest's store races with our load, and no lock can prevent it. A torn page is no harm to
//! Memtwin (the log names the page again), but a data race is undefined behaviour to Rust; so the
//! copies are machine code that the compiler does not look into, and the rest are atomic loads.

#![allow(unsafe_code, reason = "the memory is somebody else's too and known by address only")]

use crate::{Mapping, arch};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

impl Mapping {
    /// Copies `into.len()` bytes out, from `offset` on. Panics past the end.
    ///
    /// Bytes that are written meanwhile come out old or new, each for itself.
    pub fn read(&self, offset: usize, into: &mut [u8]) {
        let from = self.at(offset, into.len());
        // SAFETY: `at` has shown that `into.len()` bytes at `from` are mapped and readable; `into`
        // is an exclusive slice, which a mapping never overlaps as none is ever lent out.
        unsafe { arch::copy(from, into.as_mut_ptr(), into.len()) }
    }

    /// Copies `bytes` in, from `offset` on. Panics past the end.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        let to = self.at(offset, bytes.len());
        // SAFETY: `at` has shown that `bytes.len()` bytes at `to` are mapped and writable; no
        // slice of Rust's ever lies there.
        unsafe { arch::copy(bytes.as_ptr(), to, bytes.len()) }
    }

    /// Whether the bytes from `offset` on are `bytes`. Both must be whole, aligned 64-bit words.
    pub fn equals(&self, offset: usize, bytes: &[u8]) -> bool {
        assert!(bytes.len().is_multiple_of(8), "{} bytes are not whole words", bytes.len());
        assert!(offset.is_multiple_of(8), "words at {offset}");
        let here = self.at(offset, bytes.len());
        // One cache line at a time, so that a difference ends it early and equality runs fast.
        bytes.chunks(64).enumerate().all(|(line, chunk)| {
            let mut differs = 0;
            for (i, word) in chunk.chunks_exact(8).enumerate() {
                let mut there = [0; 8];
                there.copy_from_slice(word);
                let at = here.wrapping_add(line * 64 + i * 8);
                // SAFETY: one of the words that `at` has shown to be mapped, aligned as the
                // mapping is page-aligned and offset a multiple of 8; asked once for all of them,
                // as to ask for each takes longer than to compare it.
                let word = unsafe { AtomicU64::from_ptr(at.cast()) };
                differs |= word.load(Ordering::Relaxed) ^ u64::from_ne_bytes(there);
            }
            differs == 0
        })
    }

    /// The 64-bit word at `offset`, a multiple of 8, as an atomic.
    pub fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8), "a word at {offset}");
        // SAFETY: eight mapped bytes (`at`), aligned as the mapping is page-aligned and offset a
        // multiple of 8, and alive as long as `self`; whoever else writes them is another agent.
        unsafe { AtomicU64::from_ptr(self.at(offset, 8).cast()) }
    }

    /// The 32-bit word at `offset`, a multiple of 4, as an atomic.
    pub fn half(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4), "a half word at {offset}");
        // SAFETY: as for `word`, with four bytes.
        unsafe { AtomicU32::from_ptr(self.at(offset, 4).cast()) }
    }

    /// Hints that `len` bytes at `offset` will be touched soon. Only a hint: no effect on results.
    pub fn prefetch(&self, offset: usize, len: usize) {
        let at = self.at(offset, len);
        for line in (0..len).step_by(64) {
            arch::prefetch(at.wrapping_add(line));
        }
    }
}

/// Hints that bytes of our own will be touched soon. Only a hint: no effect on results.
pub fn prefetch(bytes: &[u8]) {
    for line in bytes.chunks(64) {
        arch::prefetch(line.as_ptr());
    }
}

#[cfg(test)]
mod tests {
    use crate::{Mapping, host_page_size};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(offset in 0usize..4000, bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
            let mapping = Mapping::anonymous(8192, 1).unwrap();
            mapping.write(offset, &bytes);
            let mut whole = vec![0; 8192];
            mapping.read(0, &mut whole);
            let mut expected = vec![0; 8192];
            expected[offset..offset + bytes.len()].copy_from_slice(&bytes);
            prop_assert_eq!(whole, expected);
        }

        #[test]
        fn equal_means_every_byte(at in 0usize..4096, bit in 0u32..8) {
            let mapping = Mapping::anonymous(8192, 1).unwrap();
            let mut page: Vec<u8> = (0..4096u32).map(|i| (i * 7) as u8).collect();
            mapping.write(4096, &page);
            prop_assert!(mapping.equals(4096, &page));
            page[at] ^= 1 << bit;
            prop_assert!(!mapping.equals(4096, &page));
        }
    }

    #[test]
    fn a_hint_changes_nothing() {
        let mapping = Mapping::anonymous(host_page_size(), 1).unwrap();
        mapping.write(0, b"same");
        mapping.prefetch(0, host_page_size());
        let mut four = [0; 4];
        mapping.read(0, &mut four);
        assert_eq!(&four, b"same");
    }
}
