//! What a twin in memory costs: what is not zero, and nothing for the rest.

use super::layout;
use crate::{MemoryTwin, SparseMemory};
use memtwin_mapping::host_page_size;
use memtwin_pages::RegionId;
use memtwin_replicate::Sink;
use memtwin_room::{MemoryRoom, RoomWatch};
use proptest::prelude::*;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};

const MIB: u64 = 1 << 20;
const RAM: RegionId = RegionId(0);

/// How many bytes of memory a memory file takes.
fn allotted(file: &File) -> u64 {
    // st_blocks counts in 512 bytes, whatever the file system (stat(2)).
    file.metadata().unwrap().blocks() * 512
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn sixty_four_gibibytes_of_zeros_cost_nothing() {
    let page = host_page_size() as u64;
    let bytes = 64 << 30;
    let mut twin = MemoryTwin::new();
    let before = resident();
    twin.open(&layout(&[(bytes / page, page)])).unwrap();
    let reader = twin.reader().unwrap();
    let piece = vec![0; 4 * MIB as usize];
    let pages = piece.len() as u64 / page;
    for first in (0..bytes / page).step_by(pages as usize) {
        twin.write(RAM, first, &piece).unwrap();
    }
    twin.commit(0).unwrap();
    // The page of its trailer, and nothing else.
    assert_eq!(allotted(&reader), page, "pre-copy");
    // A guest that clears memory: logged, and the same as it was.
    let written = twin.write(RAM, 5, &piece).unwrap();
    assert_eq!((written.same.count(), written.bytes), (pages, 0));
    // A judge that looks at it all, in both ways.
    let memory = twin.memory().unwrap();
    let mut read = vec![1; piece.len()];
    for at in (0..bytes as usize).step_by(piece.len() * 64) {
        assert!(memory.equals(at, &piece));
        memory.read(at, &mut read);
        assert!(read == piece);
        read.fill(1);
    }
    reader.read_exact_at(&mut read, bytes - piece.len() as u64).unwrap();
    assert!(read == piece);
    assert_eq!(allotted(&reader), page, "after the judge");
    let grown = resident().saturating_sub(before);
    assert!(grown < 128 * MIB, "{} MiB resident", grown / MIB);

    // The control: what is not zero does cost, and can be measured.
    let mut one = vec![0; page as usize];
    one[7] = 1;
    let written = twin.write(RAM, 9_000, &one).unwrap();
    assert_eq!((written.same.count(), written.bytes), (0, page));
    assert_eq!(allotted(&reader), 2 * page);
    assert!(!twin.memory().unwrap().equals((9_000 * page) as usize, &piece[..page as usize]));
    // Zero again: it exists, so it has to be written.
    let written = twin.write(RAM, 9_000, &piece[..page as usize]).unwrap();
    assert_eq!((written.same.count(), written.bytes), (0, page));
    assert!(twin.memory().unwrap().equals((9_000 * page) as usize, &piece[..page as usize]));
}

/// A machine of 1 GiB on which this much is left.
fn left(dir: &std::path::Path, mib: u64) {
    std::fs::create_dir_all(dir.join("proc")).unwrap();
    let text = format!("MemTotal: {} kB\nMemAvailable: {} kB\n", 1 << 20, mib << 10);
    std::fs::write(dir.join("proc/meminfo"), text).unwrap();
}

#[test]
fn it_ends_before_memory_does() {
    let dir = tempfile::tempdir().unwrap();
    left(dir.path(), 512);
    let room = MemoryRoom::at(dir.path(), "self");
    let mut twin = MemoryTwin::watched(RoomWatch::of(room));
    let page = host_page_size() as u64;
    let pages = MIB / page;
    twin.open(&layout(&[(64 * pages, page)])).unwrap();
    let (full, zero) = (vec![7; MIB as usize], vec![0; MIB as usize]);
    (0..20).for_each(|mib| _ = twin.write(RAM, mib * pages, &full).unwrap());
    // Another takes what there was.
    left(dir.path(), 50);
    (20..40).for_each(|mib| _ = twin.write(RAM, mib * pages, &zero).unwrap());
    (0..20).for_each(|mib| _ = twin.write(RAM, mib * pages, &full).unwrap());
    let ends = (40..64).find_map(|mib| twin.write(RAM, mib * pages, &full).err());
    let said = ends.expect("what it took was never looked at").to_string();
    assert!(said.contains("memory is running out: 50 MiB are left by MemAvailable"), "{said}");
}

/// A write: where, how many words, and of which value.
fn writes() -> impl Strategy<Value = Vec<(usize, usize, u8)>> {
    prop::collection::vec(
        (0..4000usize, 1..2000usize, prop::sample::select(vec![0, 0, 1, 200])),
        0..24,
    )
}

proptest! {
    #[test]
    fn a_sparse_memory_is_a_memory(writes in writes()) {
        let len = 5 * host_page_size();
        let file = File::from(
            rustix::fs::memfd_create("sparse", rustix::fs::MemfdFlags::CLOEXEC).unwrap(),
        );
        file.set_len(len as u64).unwrap();
        let memory = SparseMemory::new(&file, len as u64).unwrap();
        let (mut model, mut grown) = (vec![0; len], 0);
        for (word, words, value) in writes {
            let from = (word * 8).min(len - 8);
            let to = (from + words * 8).min(len);
            model[from..to].fill(value);
            grown += memory.write(from, &model[from..to]).unwrap();
            prop_assert!(memory.equals(0, &model));
            let mut read = vec![9; len];
            memory.read(0, &mut read);
            prop_assert!(read == model);
            let mut seen = vec![9; len];
            file.read_exact_at(&mut seen, 0).unwrap();
            prop_assert!(seen == model, "by the file");
            prop_assert_eq!(allotted(&file), grown);
        }
        model[len / 2] ^= 1;
        prop_assert!(!memory.equals(0, &model));
    }
}
