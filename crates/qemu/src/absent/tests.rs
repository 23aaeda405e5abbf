#![allow(clippy::single_range_in_vec_init, reason = "a list of one range is meant")]

use super::*;
use memtwin_mapping::{Mapping, MappingAdvice};
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};

/// A page of the host: what a pagemap has entries of.
fn page() -> u64 {
    rustix::param::page_size() as u64
}

fn pages(parts: &[Range<u64>], begin: u64) -> Vec<Range<u64>> {
    parts.iter().map(|part| (part.start - begin) / page()..(part.end - begin) / page()).collect()
}

fn absent_here(memory: &Mapping) -> Vec<Range<u64>> {
    let parts = absent(std::process::id(), memory.address(), memory.len() as u64).unwrap();
    pages(&parts, memory.address())
}

/// So much memory that its pagemap is read in more than one piece.
const PAGES: u64 = ENTRIES as u64 * 2 + 100;

#[test]
fn private_memory_is_absent_until_it_is_touched() {
    let memory = Mapping::anonymous((PAGES * page()) as usize, 1).unwrap();
    memory.advise(MappingAdvice::BasePages, 0, memory.len()).unwrap();
    assert_eq!(absent_here(&memory), [0..PAGES]);
    for at in [0, 3, ENTRIES as u64, PAGES - 1] {
        memory.write((at * page()) as usize + 5, &[7]);
    }
    let many = ENTRIES as u64;
    assert_eq!(absent_here(&memory), [1..3, 4..many, many + 1..PAGES - 1]);
    // Zeros that were written are there, which is how a lost write of zeros differs from a discard.
    memory.write((5 * page()) as usize, &vec![0; page() as usize]);
    assert_eq!(absent_here(&memory)[1..], [4..5, 6..many, many + 1..PAGES - 1]);
    // Where a part begins in the middle of a page, so does what is absent.
    let within = absent(std::process::id(), memory.address() + 100, 3 * page()).unwrap();
    let from = memory.address();
    assert_eq!(within, [from + page()..from + 3 * page()]);
}

#[test]
fn shared_memory_is_absent_where_its_file_has_a_hole() {
    let file = File::from(memfd_create("absent", MemfdFlags::CLOEXEC).unwrap());
    file.set_len(100 * page()).unwrap();
    let memory =
        Mapping::shared(std::os::fd::AsFd::as_fd(&file), (100 * page()) as usize, 1).unwrap();
    assert_eq!(absent_here(&memory), [0..100]);
    // Somebody else writes: that is not to be seen in our pagemap.
    file.write_all_at(&[1], 10 * page()).unwrap();
    memory.write((20 * page()) as usize, &[1]);
    assert_eq!(absent_here(&memory), [0..10, 11..20, 21..100]);
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&file, punch, 10 * page(), 5 * page()).unwrap();
    assert_eq!(absent_here(&memory), [0..20, 21..100]);
    // The file says the same of itself.
    let holes = holes_of(&file, 15 * page(), 10 * page()).unwrap();
    assert_eq!(pages(&holes, 0), [15..20, 21..25]);
    // Looking has not touched anything.
    assert_eq!(file.metadata().unwrap().blocks() * 512, page());
}

#[test]
fn nothing_is_known_of_what_is_no_shared_memory() {
    let disk = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    disk.set_len(1 << 20).unwrap();
    assert!(holes_of(&disk, 0, 1 << 20).unwrap().is_empty());
    assert!(absent(std::process::id(), 0, page()).unwrap().is_empty(), "not mapped");
}

#[test]
fn what_is_common_is_in_both() {
    assert_eq!(common(&[0..10, 20..30, 40..50], &[5..25, 28..45]), [5..10, 20..25, 28..30, 40..45]);
    assert_eq!(common(&[0..10], &[10..20]), []);
    assert_eq!(common(&[0..10, 10..20], &[0..30]), [0..20]);
    assert_eq!(common(&[], &[0..30]), []);
}
