//! The two stores of the stressors that are not a word's: one over a boundary, and a page's worth
//! of zeros.

#![allow(unsafe_code, reason = "machine code that stores to an address")]

use crate::arch;
use memtwin_mapping::Mapping;

/// The largest block in bytes that a CPU zeroes at once (DC ZVA; Arm ARM, DCZID_EL0).
const LARGEST_BLOCK: usize = 2048;

/// Stores eight bytes at any offset by one instruction. Panics past the end.
pub(crate) fn unaligned(window: &Mapping, offset: usize, value: u64) {
    let to = address(window, offset, 8);
    // SAFETY: eight bytes of a mapping, which lends out no reference into it but atomics, which
    // other agents may change at any time.
    unsafe { arch::store(to, value) }
}

/// Sets a page to zero. Panics past the end, or if it is no whole page.
pub(crate) fn zero_page(window: &Mapping, offset: usize, page_len: usize) {
    assert!(
        offset.is_multiple_of(page_len) && page_len.is_multiple_of(LARGEST_BLOCK),
        "no whole page"
    );
    let to = address(window, offset, page_len);
    // SAFETY: a whole page of a page-aligned mapping; the rest as for `unaligned`.
    unsafe { arch::clear(to, page_len) }
}

fn address(window: &Mapping, offset: usize, len: usize) -> *mut u8 {
    assert!(
        offset.checked_add(len).is_some_and(|end| end <= window.len()),
        "{len} bytes at {offset} of a window of {}",
        window.len()
    );
    (window.address() as usize + offset) as *mut u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_mapping::host_page_size;

    #[test]
    fn one_store_falls_on_both_sides() {
        let page = host_page_size();
        let window = Mapping::anonymous(2 * page, 1).unwrap();
        unaligned(&window, page - 4, 0x1122_3344_5566_7788);
        let mut eight = [0; 8];
        window.read(page - 4, &mut eight);
        assert_eq!(eight, 0x1122_3344_5566_7788u64.to_ne_bytes());
    }

    #[test]
    fn one_page_is_zero_and_its_neighbours_are_not() {
        let page = host_page_size();
        let window = Mapping::anonymous(3 * page, 1).unwrap();
        window.write(0, &vec![7; 3 * page]);
        zero_page(&window, page, page);
        let mut all = vec![0; 3 * page];
        window.read(0, &mut all);
        let expected = |at: usize| if at / page == 1 { 0 } else { 7 };
        assert!(all.iter().enumerate().all(|(at, &byte)| byte == expected(at)));
    }

    #[test]
    #[should_panic(expected = "8 bytes at")]
    fn past_the_end_is_a_bug_of_the_caller() {
        let window = Mapping::anonymous(host_page_size(), 1).unwrap();
        unaligned(&window, host_page_size() - 4, 1);
    }
}
