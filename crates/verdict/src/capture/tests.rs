use super::*;
use crate::compare;
use proptest::prelude::*;
use std::collections::BTreeMap;

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
        let captured = capture(&memory, &twin, page_size(), &Discards::none()).unwrap();
        prop_assert!(captured.discarded.is_empty());
        let captured = captured.memory;
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
        capture(&memory, twin, page_size(), &Discards::none())
            .map(|captured| captured.memory.pages().len())
    };
    assert!(matches!(captured(&[1, 2], &[1]), Err(CompareError::Sizes { memory: 2, twin: 1 })));
    assert!(matches!(captured(&[], &[1]), Err(CompareError::Empty { side: Side::Memory })));
    assert!(matches!(captured(&[1], &[]), Err(CompareError::Empty { side: Side::Twin })));
    assert_eq!(captured(&[1], &[1]).unwrap(), 0);

    /// Says that it is longer than it is.
    struct ShortMemory;
    impl Image for ShortMemory {
        fn len(&self) -> io::Result<u64> {
            Ok(1 << 20)
        }
        fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
            [0_u8; 4096].as_slice().read_at(offset, into)
        }
    }
    let twin = vec![0; 1 << 20];
    let error = capture(&ShortMemory, &twin, page_size(), &Discards::none()).unwrap_err();
    assert!(matches!(error, CompareError::Read { side: Side::Memory, .. }), "{error}");
}

/// Memory of which some pages must not be touched.
struct Untouchable(Vec<u8>, PageSet);

impl Image for Untouchable {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let size = page_size();
        let pages = size.page_of(offset)..size.pages_for(offset + into.len() as u64);
        assert!(pages.clone().all(|page| !self.1.contains(page)), "{pages:?} was touched");
        self.0.read_at(offset, into)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Of each page: whether it was emptied, whether it has no memory now, and the byte that
    /// fills it if it has. What differs is discarded if it was emptied and reads as zero, and
    /// only then.
    #[test]
    fn what_was_emptied_and_stayed_zero_is_discarded_and_nothing_else(
        pages in prop::collection::vec((any::<bool>(), any::<bool>(), 0_u8..3), 1..1500),
        tail in 1..=PAGE,
    ) {
        let len = (pages.len() - 1) * PAGE + tail;
        let sets = || PageSet::new(pages.len() as u64);
        let (mut absent, mut emptied) = (sets(), sets());
        let (mut discarded, mut differing) = (sets(), BTreeMap::new());
        let (mut memory, twin) = (Vec::new(), vec![1; len]);
        for (page, &(was_emptied, is_absent, byte)) in (0..).zip(&pages) {
            // Whatever lies there: it is not to be looked at.
            memory.extend([byte; PAGE]);
            let byte = if is_absent { 0 } else { byte };
            if is_absent {
                absent.insert(page);
            }
            if was_emptied {
                emptied.insert(page);
            }
            if byte == 0 && (was_emptied || is_absent) {
                discarded.insert(page);
            } else if byte != 1 {
                differing.insert(page, byte);
            }
        }
        memory.truncate(len);
        let memory = Untouchable(memory, absent.clone());
        let discards = Discards::new(absent, emptied);
        let captured = capture(&memory, &twin, page_size(), &discards).unwrap();
        prop_assert_eq!(&captured.discarded, &discarded);
        let found: BTreeMap<u64, u8> =
            captured.memory.pages().map(|(page, bytes)| (page, bytes[0])).collect();
        prop_assert_eq!(&found, &differing);
        // Discarded pages are the twin's, so the digests agree with the verdict.
        let comparison = compare(&captured.memory, &twin, page_size()).unwrap();
        prop_assert_eq!(comparison.differing.len(), differing.len());
        prop_assert_eq!(comparison.memory == comparison.twin, differing.is_empty());
    }
}
