use super::*;
use memtwin_pages::{Gpa, Layout, PageSize, Region};
use proptest::prelude::*;

const BLOCK: usize = 512;

fn shape() -> TwinShape {
    let region = |name, pages| {
        let page = PageSize::new(BLOCK as u64).unwrap();
        Region::new(name, Gpa(0), pages * BLOCK as u64, page).unwrap()
    };
    TwinShape::of(&Layout::new(vec![region("a", 300), region("b", 8)]))
}

/// A twin as two vectors, changed by the records of a body.
#[derive(Clone, Debug, PartialEq)]
struct Twin(Vec<Vec<u8>>);

impl Twin {
    fn new() -> Self {
        Self(vec![vec![0; 300 * BLOCK], vec![0; 8 * BLOCK]])
    }

    fn block(&mut self, region: usize, block: u64) -> &mut [u8] {
        &mut self.0[region][block as usize * BLOCK..][..BLOCK]
    }

    fn apply(&mut self, body: &[u8]) -> u64 {
        let mut blocks = 0;
        // What a writer makes is what a peer may send.
        for record in PageRecords::from_peer(body, &shape()).unwrap() {
            let (RegionId(region), first, count) = record.blocks();
            blocks += count;
            let range = first as usize * BLOCK..(first + count) as usize * BLOCK;
            match record {
                PageRecord::Full { bytes, .. } => self.0[region][range].copy_from_slice(bytes),
                PageRecord::Zero { .. } => self.0[region][range].fill(0),
                PageRecord::Delta { delta, .. } => delta.apply(&mut self.0[region][range]),
            }
        }
        blocks
    }
}

#[derive(Clone, Debug)]
enum Write {
    Full(usize, u64, u8),
    Zero(usize, u64),
    Words(usize, u64, Vec<(usize, u8)>),
}

fn write() -> impl Strategy<Value = Write> {
    let place = || prop_oneof![3 => (Just(0usize), 0u64..300), 1 => (Just(1usize), 0u64..8)];
    prop_oneof![
        (place(), any::<u8>()).prop_map(|((r, b), byte)| Write::Full(r, b, byte)),
        place().prop_map(|(r, b)| Write::Zero(r, b)),
        (place(), prop::collection::vec((0..BLOCK, any::<u8>()), 1..80))
            .prop_map(|((r, b), words)| Write::Words(r, b, words)),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(writes in prop::collection::vec(write(), 0..200)) {
        let (mut memory, mut twin) = (Twin::new(), Twin::new());
        let mut writer = RecordWriter::default();
        let mut blocks = 0;
        for write in &writes {
            match write {
                Write::Full(region, block, byte) => {
                    memory.block(*region, *block).fill(*byte);
                    writer.full(RegionId(*region), *block, memory.block(*region, *block));
                }
                Write::Zero(region, block) => {
                    memory.block(*region, *block).fill(0);
                    writer.zero(RegionId(*region), *block);
                }
                Write::Words(region, block, words) => {
                    let mut held = memory.block(*region, *block).to_vec();
                    let old = held.clone();
                    let new = memory.block(*region, *block);
                    words.iter().for_each(|&(at, byte)| new[at] = byte);
                    let changed = writer.update(RegionId(*region), *block, &mut held, new);
                    assert_eq!((changed, &held[..]), (old != *new, &*new));
                }
            }
            if writer.is_full(&shape()) {
                blocks += twin.apply(&writer.frame()[HEAD..]);
                writer.clear();
            }
        }
        blocks += twin.apply(&writer.frame()[HEAD..]);
        prop_assert_eq!(blocks, writer.blocks());
        prop_assert_eq!(memory, twin);
    }

    /// Whatever a peer sends: an error, or records within the layout. Never a panic.
    #[test]
    fn mangled_bodies_do_no_harm(
        writes in prop::collection::vec(write(), 1..20),
        harm in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut writer = RecordWriter::default();
        for write in &writes {
            match write {
                Write::Full(r, b, byte) => writer.full(RegionId(*r), *b, &[*byte; BLOCK]),
                Write::Zero(r, b) => writer.zero(RegionId(*r), *b),
                Write::Words(r, b, words) => {
                    let mut new = [0x55; BLOCK];
                    words.iter().for_each(|&(at, byte)| new[at] = byte);
                    writer.update(RegionId(*r), *b, &mut [0x55; BLOCK], &new);
                }
            }
        }
        let mut body = writer.frame()[HEAD..].to_vec();
        for (at, byte) in harm {
            let at = at.index(body.len());
            body[at] = byte;
        }
        body.truncate(cut.index(body.len()) + 1);
        if PageRecords::from_peer(&body, &shape()).is_ok() {
            Twin::new().apply(&body);
        }
    }
}

#[test]
fn neighbours_become_one_record() {
    let mut writer = RecordWriter::default();
    for block in 0..100 {
        writer.full(RegionId(0), block, &[1; BLOCK]);
    }
    for block in 100..300 {
        writer.zero(RegionId(0), block);
    }
    writer.zero(RegionId(1), 0);
    assert!(!writer.is_empty());
    let shape = shape();
    let body = writer.frame()[HEAD..].to_vec();
    let records: Vec<_> = PageRecords::check(&body, &shape).unwrap().map(|r| r.blocks()).collect();
    assert_eq!(records, [(RegionId(0), 0, 100), (RegionId(0), 100, 200), (RegionId(1), 0, 1)]);
}

/// Twelve bytes that name all of a huge region, again and again, in one frame: refused; a journal may
/// hold them from the time before that rule.
#[test]
fn zeros_are_named_once_in_a_frame() {
    let mut body = Vec::new();
    put_numbers(&mut body, ZERO, &[0, 0, 300]);
    put_numbers(&mut body, ZERO, &[1, 0, 8]);
    assert!(PageRecords::from_peer(&body, &shape()).is_ok());
    put_numbers(&mut body, ZERO, &[1, 7, 1]);
    let refused = PageRecords::from_peer(&body, &shape()).unwrap_err();
    assert_eq!(refused, WireError::ZeroBlocks { got: 309, blocks: 308 });
    assert!(PageRecords::check(&body, &shape()).is_ok());
}
