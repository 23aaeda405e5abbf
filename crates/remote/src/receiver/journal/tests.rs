//! A journal as it lies on a disk: what a receiver of this version writes, and what any later one has to
//! read. The file in `tests/golden` must never change.

use super::*;
use memtwin_pages::{Gpa, PageSize, Region, RegionId};
use memtwin_wire::{HEAD, RecordWriter};
use std::fs;
use std::path::Path;

/// The size of a page of the layout, in bytes.
const PAGE: usize = 512;

/// The journal of two rounds.
fn golden() -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    fs::read(folder.join("journal-2.bin")).unwrap()
}

fn header() -> JournalHeader {
    let size = PageSize::new(PAGE as u64).unwrap();
    let region =
        |name, gpa, pages: usize| Region::new(name, Gpa(gpa), (pages * PAGE) as u64, size).unwrap();
    JournalHeader {
        session: std::array::from_fn(|at| at as u8),
        layout: Layout::new(vec![region("low", 0x4000_0000, 3), region("high", 1 << 40, 2)]),
        base: JournalBase { round: 7, image: [0xa5; 16] },
    }
}

/// A page whose bytes are all different from their neighbours.
fn page(first: u8) -> Vec<u8> {
    (0..PAGE).map(|at| first.wrapping_add(at as u8)).collect()
}

/// Writes both rounds.
fn write(place: &TwinPath) {
    let (mut journal, _) = RoundJournal::prepare(place, &header()).unwrap().install(place).unwrap();
    let (low, high) = (RegionId(0), RegionId(1));
    let mut records = RecordWriter::default();
    records.full(low, 1, &page(1));
    records.zero(high, 0);
    records.zero(high, 1);
    journal.records(&records.frame()[HEAD..]).unwrap();
    journal.round(RoundEnd { round: 8, blocks: records.blocks() }).unwrap();
    records.restart();
    // A word of the page, and a whole one.
    let mut changed = page(1);
    changed[8..16].copy_from_slice(&[0xee; 8]);
    records.update(low, 1, &mut page(1), &changed);
    records.full(high, 1, &page(9));
    journal.records(&records.frame()[HEAD..]).unwrap();
    journal.round(RoundEnd { round: 9, blocks: records.blocks() }).unwrap();
}

/// What is found of these bytes: the last whole round, and the image that the rounds come to.
fn read(bytes: &[u8]) -> (u32, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let place = TwinPath::exact(&dir.path().join("twin")).unwrap();
    fs::write(place.path(JOURNAL), bytes).unwrap();
    let found = RoundJournal::find(&place).unwrap().unwrap();
    assert_eq!(found.header.session, header().session);
    assert_eq!(found.header.layout, header().layout);
    assert_eq!(found.header.base, header().base);
    let RecoveredJournal { journal, mut tail, round, .. } = found.open().unwrap();
    let shape = TwinShape::of(&header().layout);
    let file = place.create("").unwrap();
    file.set_len(5 * PAGE as u64).unwrap();
    let image = ReceivedImage::new(file, place.path(""), 5 * PAGE as u64);
    let mut written = NonzeroBlocks::everything(&shape);
    tail.apply(journal.bytes(), &shape, &image, &mut written, &|| ()).unwrap();
    (round, fs::read(place.path("")).unwrap())
}

/// The image after both rounds, or after the first.
fn image(rounds: u32) -> Vec<u8> {
    let mut image = vec![0; 5 * PAGE];
    image[PAGE..2 * PAGE].copy_from_slice(&page(1));
    if rounds == 2 {
        image[PAGE + 8..PAGE + 16].fill(0xee);
        image[4 * PAGE..].copy_from_slice(&page(9));
    }
    image
}

#[test]
fn the_bytes_on_the_disk_are_these() {
    let dir = tempfile::tempdir().unwrap();
    let place = TwinPath::exact(&dir.path().join("twin")).unwrap();
    write(&place);
    let written = fs::read(place.path(JOURNAL)).unwrap();
    assert!(written == golden(), "another journal than the one of before is written");
}

#[test]
fn a_journal_of_before_is_read_up_to_what_is_whole() {
    assert_eq!(read(&golden()), (9, image(2)));
    // The control: a byte of its last round is another.
    let mut torn = golden();
    *torn.last_mut().unwrap() ^= 1;
    assert_eq!(read(&torn), (8, image(1)));
}
