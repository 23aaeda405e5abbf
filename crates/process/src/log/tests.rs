//! The log on this process's own memory, without a child.

use super::*;
use crate::uffd;
use memtwin_mapping::{Mapping, host_page_size};
use memtwin_pages::PageSet;
use rustix::fs::MemfdFlags;
use std::os::fd::AsFd;
use std::path::Path;

struct NamedPages(PageSet);

impl Collector for NamedPages {
    fn pages(&mut self, _region: RegionId, bitmap: &[u64]) {
        self.0.insert_words(bitmap);
    }

    fn page(&mut self, _region: RegionId, page: u64) {
        self.0.insert(page);
    }
}

/// A window of this process, of which the lower half has pages, and its log.
fn window(pages: usize) -> (Mapping, ProcessLog) {
    let len = pages * host_page_size();
    let file = rustix::fs::memfd_create("memtwin-test", MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&file, len as u64).unwrap();
    let mapping = Mapping::shared(file.as_fd(), len, 1).unwrap();
    for page in 0..pages / 2 {
        mapping.write(page * host_page_size(), b"there");
    }
    let uffd = Userfaultfd::enable(uffd::create().unwrap()).unwrap();
    let pagemap = Pagemap::open(Path::new("/proc/self/pagemap")).unwrap();
    let size = PageSize::new(host_page_size() as u64).unwrap();
    let log = ProcessLog::new(uffd, pagemap, mapping.address(), len as u64, size);
    (mapping, log)
}

fn collected(log: &mut ProcessLog, pages: usize) -> Vec<u64> {
    let mut named = NamedPages(PageSet::new(pages as u64));
    log.collect(&mut named).unwrap();
    named.0.iter().collect()
}

#[test]
fn what_is_written_is_named_once() {
    let (mapping, mut log) = window(200);
    log.start().unwrap();
    assert_eq!(collected(&mut log, 200), []);
    // Pages that were there, and in the upper half such as were not.
    let written = [0, 1, 2, 63, 64, 65, 99, 100, 127, 128, 199];
    for page in written {
        mapping.write(page as usize * host_page_size() + 9, b"new");
    }
    let mut byte = [0];
    mapping.read(150 * host_page_size(), &mut byte);
    assert_eq!(collected(&mut log, 200), written);
    assert_eq!(collected(&mut log, 200), []);
    mapping.write(150 * host_page_size(), b"after it was read");
    mapping.write(64 * host_page_size(), b"again");
    assert_eq!(collected(&mut log, 200), [64, 150]);
}

#[test]
fn more_ranges_than_one_request_reports() {
    let pages = 2 * (2 * REPORTED + 700);
    let (mapping, mut log) = window(pages);
    log.start().unwrap();
    let every_other: Vec<u64> = (0..pages as u64).step_by(2).collect();
    for page in &every_other {
        mapping.write(*page as usize * host_page_size(), b"new");
    }
    assert_eq!(collected(&mut log, pages), every_other);
    assert_eq!(collected(&mut log, pages), []);
}

#[test]
fn switched_off_it_can_not_be_asked_and_switched_on_again_it_is_clean() {
    let (mapping, mut log) = window(8);
    log.start().unwrap();
    mapping.write(0, b"new");
    log.stop().unwrap();
    log.stop().unwrap();
    let mut named = NamedPages(PageSet::new(8));
    let error = log.collect(&mut named).unwrap_err();
    assert_eq!(error.errno(), Some(libc::EPERM), "{error}");
    log.start().unwrap();
    assert_eq!(collected(&mut log, 8), []);
    mapping.write(5 * host_page_size(), b"new");
    assert_eq!(collected(&mut log, 8), [5]);
}

#[test]
fn what_was_found_before_an_error_is_named() {
    let (mapping, mut log) = window(8);
    log.start().unwrap();
    mapping.write(2 * host_page_size(), b"new");
    // The last page is no longer registered: the scan comes that far and fails.
    let page = host_page_size() as u64;
    log.uffd.unregister(mapping.address() + 7 * page, page).unwrap();
    let mut named = NamedPages(PageSet::new(8));
    assert!(log.collect(&mut named).is_err());
    assert_eq!(named.0.iter().collect::<Vec<_>>(), [2]);
}

#[test]
fn private_memory_of_a_file_is_refused_with_a_way_out() {
    let file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let len = host_page_size();
    file.set_len(len as u64).unwrap();
    let mapping = Mapping::shared(file.as_fd(), len, 1).unwrap();
    let (_, mut log) = window(1);
    log.start = mapping.address();
    match log.start() {
        Err(LogError::NotShared) => {}
        // The sources may lie on tmpfs.
        outcome => assert!(outcome.is_ok(), "{outcome:?}"),
    }
}

#[test]
fn a_bitmap_holds_what_was_added() {
    for (first, end) in [(0, 1), (0, 64), (63, 65), (5, 200), (64, 128), (199, 200)] {
        let mut bitmap = [0; 4];
        name(&mut bitmap, first, end);
        let mut set = PageSet::new(256);
        set.insert_words(&bitmap);
        assert_eq!(set.iter().collect::<Vec<_>>(), (first..end).collect::<Vec<_>>());
    }
}
