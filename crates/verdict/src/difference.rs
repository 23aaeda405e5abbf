//! Where a page differs from its twin.

use crate::Hint;
use std::ops::Range;

/// How many ranges of bytes are kept a page, so that the list of a whole image that differs stays
/// small beside the image.
const MOST_RANGES: usize = 8;

/// A page that differs from its twin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The number of the page in the image.
    pub page: u64,
    /// The offset in the page of the first byte that differs.
    pub first_byte: u32,
    /// How many bytes of the page differ.
    pub bytes: u32,
    /// Who probably wrote them, where the bytes tell.
    pub hint: Option<Hint>,
    /// Which bytes differ, as offsets in the page, in order, each range as long as it can be. At
    /// most eight: where there are more the last one goes on to the last byte that differs, over
    /// equal ones too. [`Difference::is_exact`] tells.
    pub ranges: Box<[Range<u32>]>,
}

impl Difference {
    /// Whether every byte of the ranges differs, and so none were drawn together.
    pub fn is_exact(&self) -> bool {
        self.ranges.iter().map(|range| range.end - range.start).sum::<u32>() == self.bytes
    }

    /// How two copies of a page differ, or of a part of one that begins at offset `at` in the
    /// page. `None` if they don't. The copies are equally long; `at` is a multiple of 8.
    pub(crate) fn between(page: u64, at: u32, memory: &[u8], twin: &[u8]) -> Option<Self> {
        let mut ranges = DifferingRanges::default();
        let mut hint = None;
        let (memory_words, memory_rest) = memory.as_chunks::<8>();
        let (twin_words, twin_rest) = twin.as_chunks::<8>();
        let mut offset = at;
        for (memory, twin) in memory_words.iter().zip(twin_words) {
            if memory != twin {
                let word = Hint::of_words(u64::from_le_bytes(*memory), u64::from_le_bytes(*twin));
                hint = if ranges.bytes == 0 { word } else { agreed(hint, word) };
                ranges.add_differing(offset, memory, twin);
            }
            offset += 8;
        }
        if memory_rest != twin_rest {
            hint = None;
            ranges.add_differing(offset, memory_rest, twin_rest);
        }
        let first_byte = ranges.list.first()?.start;
        Some(Self {
            page,
            first_byte,
            bytes: ranges.bytes,
            hint,
            ranges: ranges.list.into_boxed_slice(),
        })
    }

    /// Takes in what was found in a later part of the same page.
    pub(crate) fn absorb(&mut self, later: &Self) {
        let mut ranges = DifferingRanges {
            list: std::mem::take(&mut self.ranges).into_vec(),
            bytes: self.bytes,
        };
        for range in later.ranges.iter().cloned() {
            ranges.add(range);
        }
        self.ranges = ranges.list.into_boxed_slice();
        self.bytes += later.bytes;
        self.hint = agreed(self.hint, later.hint);
    }
}

fn agreed(one: Option<Hint>, other: Option<Hint>) -> Option<Hint> {
    one?.and(other?)
}

/// Ranges as they are found, in order.
#[derive(Default)]
struct DifferingRanges {
    list: Vec<Range<u32>>,
    bytes: u32,
}

impl DifferingRanges {
    /// Adds every byte that differs between two copies of the bytes at `offset`.
    fn add_differing(&mut self, offset: u32, memory: &[u8], twin: &[u8]) {
        for (at, (memory, twin)) in (offset..).zip(memory.iter().zip(twin)) {
            if memory != twin {
                self.add(at..at + 1);
                self.bytes += 1;
            }
        }
    }

    fn add(&mut self, range: Range<u32>) {
        let full = self.list.len() == MOST_RANGES;
        match self.list.last_mut() {
            Some(last) if full || last.end == range.start => last.end = range.end,
            _ => self.list.push(range),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn between(memory: &[u8], twin: &[u8]) -> Option<Difference> {
        Difference::between(7, 0, memory, twin)
    }

    #[test]
    fn equal_pages_have_no_difference() {
        assert_eq!(between(&[3; 4096], &[3; 4096]), None);
        assert_eq!(between(&[3; 13], &[3; 13]), None);
    }

    #[test]
    fn ranges_name_the_bytes() {
        let twin = [0u8; 4097];
        let mut memory = twin;
        for byte in [5, 6, 7, 8, 100, 4096] {
            memory[byte] = 0x80;
        }
        let found = between(&memory, &twin).unwrap();
        assert_eq!((found.page, found.first_byte, found.bytes), (7, 5, 6));
        assert_eq!(*found.ranges, [5..9, 100..101, 4096..4097]);
        assert!(found.is_exact());
        assert_eq!(found.hint, None);
    }

    #[test]
    fn many_ranges_are_drawn_together_and_say_so() {
        let twin = [0u8; 4096];
        let memory: Vec<u8> = (0..4096).map(|byte| u8::from(byte % 100 == 3)).collect();
        let found = between(&memory, &twin).unwrap();
        assert_eq!((found.first_byte, found.bytes), (3, 41));
        assert_eq!(found.ranges.len(), MOST_RANGES);
        assert_eq!(found.ranges.last(), Some(&(703..4004)));
        assert!(!found.is_exact());
    }

    /// A page of Arm descriptors with the access flag clear.
    fn descriptors() -> Vec<u8> {
        (1..=512u64).flat_map(|page| (page << 12 | 0x703 & !0x400).to_le_bytes()).collect()
    }

    #[test]
    fn a_page_hints_if_all_its_words_do() {
        let twin = descriptors();
        let mut memory = twin.clone();
        for word in [0, 3, 511] {
            memory[word * 8 + 1] |= 4;
            assert_eq!(between(&memory, &twin).unwrap().hint, Some(Hint::ArmAccessFlag));
        }
        memory[800] ^= 8;
        assert_eq!(between(&memory, &twin).unwrap().hint, None);
    }

    proptest! {
        #[test]
        fn a_page_in_parts_is_the_page(
            flags in prop::collection::vec((0usize..512, prop_oneof![Just(10u32), 0u32..64]), 0..20),
            cut in 0usize..=512,
        ) {
            let twin = descriptors();
            let mut memory = twin.clone();
            for (word, bit) in flags {
                memory[word * 8 + bit as usize / 8] ^= 1 << (bit % 8);
            }
            let cut = cut * 8;
            let front = Difference::between(7, 0, &memory[..cut], &twin[..cut]);
            let back = Difference::between(7, cut as u32, &memory[cut..], &twin[cut..]);
            let parts = match (front, back) {
                (Some(mut front), Some(back)) => {
                    front.absorb(&back);
                    Some(front)
                }
                (front, back) => front.or(back),
            };
            let whole = between(&memory, &twin);
            // Both draw ranges together past eight, perhaps at other places.
            prop_assert_eq!(parts.as_ref().map(|d| (d.first_byte, d.bytes, d.hint)),
                whole.as_ref().map(|d| (d.first_byte, d.bytes, d.hint)));
            if whole.as_ref().is_some_and(Difference::is_exact) {
                prop_assert_eq!(parts, whole);
            }
        }
    }
}
