//! Ordinary memory of whole pages, of which one word each is changed.

use std::sync::atomic::{AtomicU64, Ordering};

/// Memory that the system did not give.
#[derive(Debug, thiserror::Error)]
#[error("{pages} pages of {page_size} bytes: the system has not so much memory for this program")]
pub struct OutOfMemory {
    pages: u64,
    page_size: usize,
}

/// Pages of memory, all faulted in.
pub struct LoadPages {
    words: Vec<AtomicU64>,
    /// Index of the first word that begins a page.
    first: usize,
    words_per_page: usize,
}

impl LoadPages {
    /// Allocates pages of the system's size and writes to each. With `random`, each is filled with
    /// bytes that no stream compresses; else all but its first word is zero.
    ///
    /// Errors: the system does not promise so much.
    pub fn allocate(pages: u64, random: bool) -> Result<Self, OutOfMemory> {
        let page_size = rustix::param::page_size();
        let error = || OutOfMemory { pages, page_size };
        let words_per_page = page_size / size_of::<AtomicU64>();
        let whole = usize::try_from(pages).ok().and_then(|pages| pages.checked_add(1));
        // One more, to begin where a page begins.
        let length = whole.and_then(|pages| pages.checked_mul(words_per_page)).ok_or_else(error)?;
        let mut words = Vec::new();
        words.try_reserve_exact(length).map_err(|_| error())?;
        let mut rng = fastrand::Rng::with_seed(pages);
        words.resize_with(length, || AtomicU64::new(if random { rng.u64(..) } else { 0 }));
        // Words are aligned as such, so it is less than a page, and fits.
        let first = words.as_ptr().align_offset(page_size);
        let memory = Self { words, first, words_per_page };
        (0..pages).for_each(|page| memory.dirty(page, 1));
        Ok(memory)
    }

    /// Changes a word of a page.
    pub fn dirty(&self, page: u64, value: u64) {
        // A page that was allocated has an index.
        let word = self.first + page as usize * self.words_per_page;
        self.words[word].store(value, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_has_a_word_of_its_own_at_its_beginning() {
        let memory = LoadPages::allocate(5, false).unwrap();
        memory.dirty(4, 77);
        let page_size = rustix::param::page_size();
        let set: Vec<_> = memory.words.iter().filter(|w| w.load(Ordering::Relaxed) != 0).collect();
        assert_eq!(set.len(), 5);
        assert!(set.iter().all(|word| word.as_ptr().addr() % page_size == 0));
        assert_eq!(set[4].load(Ordering::Relaxed), 77);
    }

    #[test]
    fn random_pages_are_not_alike() {
        let memory = LoadPages::allocate(2, true).unwrap();
        assert!(memory.words[1].load(Ordering::Relaxed) != memory.words[2].load(Ordering::Relaxed));
    }

    #[test]
    fn more_than_there_is_is_refused() {
        assert!(LoadPages::allocate(u64::MAX, false).is_err());
        assert!(LoadPages::allocate(1 << 50, false).is_err());
    }
}
