//! The comparison against a model, and the controls: whatever is flipped is found, where it is.

use crate::judge::Judge;
use crate::*;
use memtwin_pages::{Image, PageSize};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;

const PAGE: u64 = 512;

fn page(bytes: u64) -> PageSize {
    PageSize::new(bytes).unwrap()
}

/// Compares in small chunks, so that small images go through many of them.
fn judge(
    memory: &dyn Image,
    twin: &dyn Image,
    page_size: PageSize,
    (chunk_bytes, workers): (usize, usize),
) -> Result<Comparison, CompareError> {
    let mut judge = Judge::new(memory, twin, page_size)?;
    judge.chunk_bytes = chunk_bytes;
    judge.workers = workers;
    judge.run()
}

/// The digests, each from a source that has no part in the code under test.
fn digests(bytes: &[u8]) -> ImageDigests {
    let sum = bytes.iter().fold(0u16, |sum, &byte| sum.rotate_right(1).wrapping_add(byte.into()));
    ImageDigests { blake3: blake3::hash(bytes), bsd_sum: sum }
}

/// Of each page that differs, the offsets in it of every byte that does.
fn model(memory: &[u8], twin: &[u8], page: u64) -> BTreeMap<u64, Vec<u32>> {
    let mut differing: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for (at, (memory, twin)) in (0u64..).zip(memory.iter().zip(twin)) {
        if memory != twin {
            differing.entry(at / page).or_default().push((at % page) as u32);
        }
    }
    differing
}

fn agrees(found: &Comparison, memory: &[u8], twin: &[u8], page: u64) {
    let model = model(memory, twin, page);
    assert_eq!(found.identical(), memory == twin);
    assert_eq!(found.pages, (memory.len().min(twin.len()) as u64).div_ceil(page));
    assert_eq!((found.memory_bytes, found.twin_bytes), (memory.len() as u64, twin.len() as u64));
    assert_eq!((found.memory, found.twin), (digests(memory), digests(twin)));
    assert!(found.differing.iter().map(|found| found.page).eq(model.keys().copied()));
    for (found, bytes) in found.differing.iter().zip(model.values()) {
        assert_eq!((found.first_byte, found.bytes), (bytes[0], bytes.len() as u32));
        let ranged: Vec<u32> = found.ranges.iter().cloned().flatten().collect();
        if found.is_exact() {
            assert_eq!(&ranged, bytes);
        } else {
            assert!(bytes.iter().all(|byte| ranged.contains(byte)));
            assert_eq!(ranged.last(), bytes.last());
        }
    }
}

fn shops() -> impl Strategy<Value = (usize, usize)> {
    (prop_oneof![Just(512usize), Just(1024), Just(4096)], 1usize..5)
}

proptest! {
    #[test]
    fn what_was_flipped_is_found_and_nothing_else(
        memory in prop::collection::vec(prop_oneof![3 => Just(0), 1 => any::<u8>()], 1..9000),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 0..40),
        shape in prop_oneof![Just((PAGE, 512, 3)), Just((4096, 512, 2)), Just((1024, 4096, 2))],
        shop in shops(),
    ) {
        let mut twin = memory.clone();
        for (at, bit) in flips {
            twin[at.index(memory.len())] ^= 1 << bit;
        }
        let found = judge(&memory, &twin, page(shape.0), shop).unwrap();
        agrees(&found, &memory, &twin, shape.0);
        // The order of the two does not matter, and neither does who works how.
        let turned = judge(&twin, &memory, page(shape.0), (shape.1, shape.2)).unwrap();
        agrees(&turned, &twin, &memory, shape.0);
    }

    #[test]
    fn images_of_two_sizes_differ_and_their_common_part_is_compared(
        memory in prop::collection::vec(any::<u8>(), 1..9000),
        keep in any::<prop::sample::Index>(),
        flip in any::<prop::sample::Index>(),
        shop in shops(),
    ) {
        let mut twin = memory[..=keep.index(memory.len())].to_vec();
        let at = flip.index(memory.len());
        if let Some(byte) = twin.get_mut(at) {
            *byte ^= 1;
        }
        let found = judge(&memory, &twin, page(PAGE), shop).unwrap();
        agrees(&found, &memory, &twin, PAGE);
        agrees(&judge(&twin, &memory, page(PAGE), shop).unwrap(), &twin, &memory, PAGE);
    }
}

/// The control: a bit at every kind of place, in images that go through chunks of the real size.
#[test]
fn a_single_flipped_bit_is_found_anywhere() {
    let chunk = 256 << 10;
    let len = 3 * chunk + 5 * 4096 + 13;
    let memory: Vec<u8> = (0..len).map(|at| ((at * 31) >> 7) as u8).collect();
    let size = page(4096);
    let untouched = verify(&memory, &memory.clone(), size).unwrap();
    assert!(untouched.identical() && untouched.memory == digests(&memory));
    let edges = [0, 8, 4096, 8192, chunk, 2 * chunk, 3 * chunk, len - 13, len - 13 + 8];
    let places = edges.iter().flat_map(|&edge: &usize| [edge.saturating_sub(1), edge, edge + 1]);
    for (turn, at) in places.chain([chunk + 2048, len - 1]).enumerate() {
        let mut twin = memory.clone();
        twin[at] ^= 1 << (turn % 8);
        let found = verify(&memory, &twin, size).unwrap();
        assert!(!found.identical());
        assert_ne!(found.memory.blake3, found.twin.blake3);
        assert_ne!(found.memory.bsd_sum, found.twin.bsd_sum);
        agrees(&found, &memory, &twin, 4096);
        assert_eq!(found.differing.len(), 1, "at {at}");
    }
}

#[test]
fn every_bit_of_a_page_is_looked_at() {
    let memory = vec![0u8; 3 * PAGE as usize];
    for bit in 0..8 * memory.len() {
        let mut twin = memory.clone();
        twin[bit / 8] ^= 1 << (bit % 8);
        let found = judge(&memory, &twin, page(PAGE), (512, 1)).unwrap();
        agrees(&found, &memory, &twin, PAGE);
    }
}

/// A page larger than a chunk, with walker bits in two chunks: found in parts, told as one.
#[test]
fn a_page_larger_than_a_chunk_is_one_page() {
    let twin: Vec<u8> = (1..=1024u64).flat_map(|n| (n << 12 | 0x303).to_le_bytes()).collect();
    let mut memory = twin.clone();
    for word in [65, 700] {
        memory[word * 8 + 1] |= 4;
    }
    let found = judge(&memory, &twin, page(8192), (512, 2)).unwrap();
    agrees(&found, &memory, &twin, 8192);
    assert_eq!(found.differing.len(), 1);
    assert_eq!(found.differing[0].hint, Some(Hint::ArmAccessFlag));
    assert_eq!(*found.differing[0].ranges, [521..522, 5601..5602]);
}

#[test]
fn nothing_is_never_a_pass() {
    let some = vec![1u8];
    let none = Vec::new();
    for (memory, twin, empty) in
        [(&none, &some, Side::Memory), (&some, &none, Side::Twin), (&none, &none, Side::Memory)]
    {
        for ask in [verify, compare] {
            let error = ask(memory, twin, page(PAGE)).unwrap_err();
            assert!(matches!(error, CompareError::Empty { side } if side == empty), "{error}");
        }
    }
}

#[test]
fn a_region_and_its_twin_are_of_one_size() {
    let error = compare(&vec![0; 1024], &vec![0; 512], page(PAGE)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the memory has 1024 bytes, its twin 512: expected the same size"
    );
    assert!(!verify(&vec![0; 1024], &vec![0; 512], page(PAGE)).unwrap().identical());
    assert!(compare(&vec![0; 1024], &vec![0; 1024], page(PAGE)).unwrap().identical());
    let huge = verify(&vec![0; 1], &vec![0; 1], page(1 << 32)).unwrap_err();
    assert!(matches!(huge, CompareError::PageSize { .. }));
}

/// Zeros that count how often each part is read, and can't be read, or panic, from some byte on.
struct WatchedZeros {
    reads: Mutex<Vec<u32>>,
    breaks_at: usize,
    panics: bool,
}

impl WatchedZeros {
    fn new(len: usize) -> Self {
        Self { reads: Mutex::new(vec![0; len]), breaks_at: len, panics: false }
    }
}

impl Image for WatchedZeros {
    fn len(&self) -> io::Result<u64> {
        Ok(self.reads.lock().unwrap().len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let range = offset as usize..offset as usize + into.len();
        if range.end > self.breaks_at {
            assert!(!self.panics, "the image broke");
            return Err(io::Error::other("the image broke"));
        }
        self.reads.lock().unwrap()[range].iter_mut().for_each(|reads| *reads += 1);
        into.fill(0);
        Ok(())
    }
}

#[test]
fn each_byte_is_read_once() {
    for twin_byte in [0, 1] {
        let memory = WatchedZeros::new(10_000);
        let found = judge(&memory, &vec![twin_byte; 10_000], page(PAGE), (1024, 3)).unwrap();
        assert_eq!(found.identical(), twin_byte == 0);
        assert!(memory.reads.lock().unwrap().iter().all(|&reads| reads == 1));
    }
}

#[test]
fn an_image_that_breaks_ends_the_comparison() {
    for (workers, breaks_at) in [(1, 0), (1, 5000), (2, 0), (2, 5000), (4, 5000), (4, 9999)] {
        let mut memory = WatchedZeros::new(10_000);
        memory.breaks_at = breaks_at;
        let error = judge(&memory, &vec![0; 10_000], page(PAGE), (512, workers)).unwrap_err();
        let CompareError::Read { side: Side::Memory, offset, len, .. } = error else {
            panic!("{error}");
        };
        assert!(offset + len as u64 > breaks_at as u64);
    }
}

#[test]
#[should_panic(expected = "the image broke")]
fn an_image_that_panics_does_not_leave_the_workers_waiting() {
    let memory = WatchedZeros { breaks_at: 5000, panics: true, ..WatchedZeros::new(10_000) };
    let _ = judge(&memory, &vec![0; 10_000], page(PAGE), (512, 3));
}
