use super::*;
use crate::bounded::PauseBound;
use crate::paused_read::{PausedRead, PausedRegion};
use memtwin_mapping::Mapping;
use memtwin_pages::{Gpa, PageSize};
use memtwin_qemu::{Block, Process};
use memtwin_replicate::{Round, RoundKind};
use memtwin_verdict::{capture, compare};
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;

const PAGES: u64 = 16;
const ROUND: Round = Round {
    n: 1,
    kind: RoundKind::Delta,
    dirty_pages: 0,
    sent_pages: 0,
    false_dirty_pages: 0,
    zero_pages: 0,
    bytes: 0,
    collect: Duration::ZERO,
    copy: Duration::ZERO,
    total: Duration::ZERO,
};

/// A guest's memory, which is this process's own, and its twin.
struct Guest {
    file: File,
    mapping: Mapping,
    layout: Layout,
    memories: Vec<BlockMemory>,
    twin: Vec<u8>,
}

impl Guest {
    /// Every page is full, and the twin has it.
    fn new() -> Self {
        let size = PageSize::new(rustix::param::page_size() as u64).unwrap();
        let used = PAGES * size.bytes();
        let file = File::from(memfd_create("guest", MemfdFlags::CLOEXEC).unwrap());
        file.set_len(used).unwrap();
        let mapping = Mapping::shared(file.as_fd(), used as usize, 1).unwrap();
        mapping.write(0, &vec![7; used as usize]);
        let block = Block {
            is_named: true,
            name: "ram".to_owned(),
            used,
            total: used,
            hva: Some(mapping.address()),
            host_page: size.bytes(),
            windows: Vec::new(),
            read_only: None,
        };
        let process = Process::of_pid(std::process::id(), std::slice::from_ref(&block)).unwrap();
        let memories = vec![BlockMemory::new(Arc::new(process), &block).unwrap()];
        let layout = Layout::new(vec![Region::new("ram", Gpa(0), used, size).unwrap()]);
        Self { file, mapping, layout, memories, twin: vec![7; used as usize] }
    }

    fn size(&self) -> PageSize {
        self.layout.region(RegionId(0)).page_size()
    }

    fn gives_up(&self, page: u64) {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&self.file, flags, self.size().offset_of(page), self.size().bytes()).unwrap();
    }

    fn writes(&self, page: u64, byte: u8) {
        self.mapping
            .write(self.size().offset_of(page) as usize, &vec![byte; self.size().as_usize()]);
    }

    /// The pages that are discarded, and those that are lost.
    fn judged(&self, watch: &DiscardWatch<'_>) -> (Vec<u64>, Vec<u64>) {
        let known = watch.at_stop(RegionId(0), None);
        let captured = capture(&self.memories[0], &self.twin, self.size(), &known).unwrap();
        let lost = captured.memory.pages().map(|(page, _)| page).collect();
        (captured.discarded.iter().collect(), lost)
    }
}

/// A round that named these pages.
fn round(mut watch: &DiscardWatch<'_>, pages: &[u64]) {
    let mut named = PageSet::new(PAGES);
    for page in pages {
        named.insert(*page);
    }
    watch.event(&ReplicationEvent::Collected { round: 1, named: &[named] });
    // The next look is due whenever the last one was.
    watch.state().next = Instant::now();
    watch.event(&ReplicationEvent::Round(&ROUND));
}

#[test]
fn what_was_given_up_is_no_loss_and_what_was_used_again_is_judged() {
    let guest = Guest::new();
    let watch = DiscardWatch::new(&guest.memories, &guest.layout, true);
    round(&watch, &[]);
    assert_eq!(guest.judged(&watch), (vec![], vec![]));
    (2..8).for_each(|page| guest.gives_up(page));
    assert_eq!(guest.judged(&watch).0, [2, 3, 4, 5, 6, 7], "known without a look before");
    round(&watch, &[]);
    // Filled with zeros by nobody's write, as by a huge page: still given up.
    guest.writes(3, 0);
    // Used again, unheard.
    guest.writes(4, 9);
    assert_eq!(guest.judged(&watch), (vec![2, 3, 5, 6, 7], vec![4]));
    // Used again, named, and then cleared, unheard: what was given up before does not excuse it.
    guest.writes(5, 7);
    round(&watch, &[5]);
    guest.writes(5, 0);
    assert_eq!(guest.judged(&watch), (vec![2, 3, 6, 7], vec![4, 5]));
    // Given up once more.
    guest.gives_up(5);
    assert_eq!(guest.judged(&watch), (vec![2, 3, 5, 6, 7], vec![4]));
}

#[test]
fn without_a_balloon_a_page_that_has_memory_was_never_given_up() {
    let guest = Guest::new();
    let watch = DiscardWatch::new(&guest.memories, &guest.layout, false);
    assert!(!watch.may_miss());
    guest.gives_up(2);
    round(&watch, &[]);
    guest.writes(2, 0);
    assert_eq!(guest.judged(&watch), (vec![], vec![2]));
}

/// With a balloon nothing tells whether a page that was never seen without memory was lost; but what
/// else differs is lost.
#[test]
fn a_page_that_may_have_been_given_up_unseen_is_set_aside() {
    let guest = Guest::new();
    let none = PageSet::new(PAGES);
    let judged = |balloon, never_sent: &PageSet| {
        let watch = DiscardWatch::new(&guest.memories, &guest.layout, balloon);
        let region = (RegionId(0), guest.layout.region(RegionId(0)));
        let bound = PauseBound::new(0, None);
        let (id, region) = region;
        let seen = PausedRegion {
            id,
            page_size: region.page_size(),
            came: None,
            never_sent,
            last_round: |_| 0,
        };
        let read = PausedRead::of((&guest.memories[0], &bound), &guest.twin, &watch, &seen);
        let read = read.unwrap();
        let mut comparison = compare(&read.memory, &guest.twin, guest.size()).unwrap();
        let why = read.set_aside(&mut comparison, "ram").unwrap_or_default();
        (why, comparison.differing.iter().map(|found| found.page).collect::<Vec<_>>())
    };
    guest.writes(2, 9);
    assert_eq!(judged(true, &none), (String::new(), vec![2]), "it has been written");
    guest.writes(3, 0);
    let (why, lost) = judged(true, &none);
    assert!(why.contains("RAMBlock ram: 1 pages differ that read as zero now"), "{why}");
    assert_eq!(lost, [2]);
    assert_eq!(judged(false, &none), (String::new(), vec![2, 3]));
    let mut sent_not = none.clone();
    sent_not.insert(2);
    let (why, lost) = judged(false, &sent_not);
    assert!(why.contains("never sent"), "{why}");
    assert_eq!(lost, [3]);
    guest.gives_up(3);
    guest.gives_up(2);
    assert_eq!(judged(true, &none), (String::new(), vec![]), "seen to be");
    assert_eq!(judged(false, &sent_not), (String::new(), vec![]));
}
