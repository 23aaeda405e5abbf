//! What the window holds before the first write.

use memtwin_mapping::Mapping;

/// One page in this many stays zero, as in any real memory.
const ZERO_EVERY: usize = 8;

/// Fills the first `len` bytes with pages of random words, every eighth page with zeros.
pub fn fill(window: &Mapping, len: usize, page_len: usize, seed: u64) {
    let mut page = vec![0; page_len];
    let mut word = seed | 1;
    for (n, offset) in (0..len).step_by(page_len).enumerate() {
        if n % ZERO_EVERY == ZERO_EVERY - 1 {
            page.fill(0);
        } else {
            for bytes in page.chunks_exact_mut(8) {
                // xorshift64 (Marsaglia, 2003): fast, and far from compressible.
                word ^= word << 13;
                word ^= word >> 7;
                word ^= word << 17;
                bytes.copy_from_slice(&word.to_ne_bytes());
            }
        }
        window.write(offset, &page[..page_len.min(len - offset)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_eighth_page_is_zero_and_no_other() {
        let window = Mapping::anonymous(16 * 4096, 1).unwrap();
        fill(&window, 16 * 4096, 4096, 7);
        let mut page = [0; 4096];
        for n in 0..16 {
            window.read(n * 4096, &mut page);
            assert_eq!(page.iter().all(|&byte| byte == 0), n % 8 == 7, "page {n}");
        }
    }
}
