//! The bounded run of the fuzz target `stream`: its seeds, changed in many ways from one random
//! seed. Nothing panics, cuts make no difference, and memory stays bounded whatever comes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may end at what it did not expect"
)]

mod common;

use cap::Cap;
use common::encode::{RAM_ID, Stream};
use common::watch::agrees_under_cuts;
use memtwin_stream::{BlockEntry, Decoder, StreamLimits, StreamVisitor};
use std::alloc::System;
use std::convert::Infallible;
use std::fs;
use std::path::Path;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// How much all tests of this file may have allocated at the same time, inputs and harness
/// included.
const BOUND: usize = 6 << 20;

const ROUNDS: usize = 20_000;

/// Numbers that go wrong where they are added, multiplied or allocated.
const NUMBERS: [u64; 8] = [0, 1, 0x10, 0xff, 0xffff, 0x7fff_ffff, 1 << 63, u64::MAX];

fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/stream");
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names.iter().map(|name| fs::read(name).unwrap()).collect()
}

/// Changes bytes in a way that a fuzzer would.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut fastrand::Rng) {
    let at = random.usize(..bytes.len());
    match random.u8(..7) {
        0 => bytes[at] ^= 1 << random.u8(..8),
        1 => bytes[at] = random.u8(..),
        2 => {
            let number = NUMBERS[random.usize(..NUMBERS.len())].to_be_bytes();
            let width = [1, 2, 4, 8][random.usize(..4)].min(bytes.len() - at);
            bytes[at..at + width].copy_from_slice(&number[8 - width..]);
        }
        3 => bytes.truncate(at.max(1)),
        4 => {
            let end = (at + random.usize(..40)).min(bytes.len());
            bytes.drain(at..end);
        }
        5 => {
            let end = (at + random.usize(..40)).min(bytes.len());
            let piece = bytes[at..end].to_vec();
            let to = random.usize(..=bytes.len());
            bytes.splice(to..to, piece);
        }
        _ => {
            let from = random.usize(..other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
    }
    if bytes.is_empty() {
        bytes.push(0);
    }
}

#[test]
fn changed_seeds_are_decoded_or_refused() {
    let seeds = seeds();
    assert!(seeds.len() > 10);
    for seed in &seeds {
        agrees_under_cuts(seed);
    }
    let mut random = fastrand::Rng::with_seed(3);
    let (mut complete, mut pages, mut refused) = (0, 0, 0);
    for _ in 0..ROUNDS {
        let other = &seeds[random.usize(..seeds.len())];
        let mut bytes = seeds[random.usize(..seeds.len())].clone();
        for _ in 0..random.usize(1..4) {
            mutate(&mut bytes, other, &mut random);
        }
        let told = agrees_under_cuts(&bytes);
        pages += told.pages;
        match told.end {
            Ok(()) => complete += 1,
            Err(_) => refused += 1,
        }
    }
    // The run reaches all of the decoder: some streams still end well, most do not.
    assert!(complete > ROUNDS / 50, "{complete}");
    assert!(refused > ROUNDS / 2, "{refused}");
    assert!(pages > ROUNDS as u64, "{pages}");
    bounded();
}

/// Requires that there was never more memory in use than is allowed.
fn bounded() {
    let most = ALLOCATOR.max_allocated();
    assert!(most < BOUND, "{most} bytes were allocated at the same time");
}

struct Nobody;

impl StreamVisitor for Nobody {
    type Error = Infallible;

    fn blocks(&mut self, _: &[BlockEntry]) -> Result<(), Infallible> {
        Ok(())
    }

    fn page(&mut self, _: usize, _: u64, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }

    fn fill(&mut self, _: usize, _: u64, _: u8) -> Result<(), Infallible> {
        Ok(())
    }
}

#[test]
fn floods_need_no_memory() {
    let mut head = Stream::new("pc", 4096);
    head.blocks(&[("ram", 1 << 40)]);
    let mut zeros = Stream::new("pc", 4096);
    zeros.bytes.clear();
    for page in 0..1000 {
        zeros.fill("ram", page << 12, 0);
    }
    let mut sections = Stream::default();
    for _ in 0..1000 {
        sections.raw(b"\x02").u32(RAM_ID).close();
    }
    for (begin, flood) in [(&b"\x02\0\0\0\x02"[..], &zeros), (b"", &sections), (b"\x03", &sections)]
    {
        let mut decoder = Decoder::new(StreamLimits::default(), 4096);
        decoder.feed(&head.bytes, &mut Nobody).unwrap();
        decoder.feed(begin, &mut Nobody).unwrap();
        if begin == b"\x03" {
            decoder.feed(&flood.bytes[1..], &mut Nobody).unwrap();
        }
        // Of two lengths, so that the cuts fall everywhere.
        for round in 0..2000 {
            let (one, two) = flood.bytes.split_at(1 + round % (flood.bytes.len() - 1));
            decoder.feed(one, &mut Nobody).unwrap();
            decoder.feed(two, &mut Nobody).unwrap();
        }
        assert!(decoder.offset() > 2000 * flood.bytes.len() as u64);
    }
    bounded();
}

#[test]
fn a_list_of_blocks_as_long_as_may_be_needs_little() {
    let mut stream = Stream::new("pc", 65536);
    stream.page_bits(16).start(1 << 30);
    for number in 0..1023 {
        stream.block(&format!("{number:0>255}"), 0);
    }
    stream.block("ram", 1 << 30).close().part().page("ram", 0, 1);
    let before = ALLOCATOR.allocated();
    let mut decoder = Decoder::new(StreamLimits::default(), 4096);
    for piece in stream.bytes.chunks(333) {
        decoder.feed(piece, &mut Nobody).unwrap();
    }
    assert_eq!(decoder.page_bytes(), 65536);
    let held = ALLOCATOR.allocated().saturating_sub(before);
    // Other tests run meanwhile: their inputs are small.
    assert!(held < 1 << 20, "{held} bytes");
    bounded();
}

/// Writes the seeds of the fuzz target that are not recorded:
/// `cargo test -p memtwin-stream --test mutate -- --ignored`.
#[test]
#[ignore = "writes into the source tree"]
fn write_the_seeds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/stream");
    fs::create_dir_all(&folder).unwrap();
    let mut whole = Stream::new("pc", 1024);
    whole.page_bits(10).uuid().open_return_path().ping(1).blocks(&[("ram", 4096), ("rom", 1024)]);
    whole.part().page("ram", 0, 1).fill("ram", 1024, 0).fill("rom", 0, 0).close();
    whole.part().close().switchover_start();
    whole.end().fill("ram", 2048, 7).close().devices();
    let mut shared = Stream::new("pc", 1024);
    shared.page_bits(10).ignore_shared().start(2048);
    shared.block("ram", 1024).u64(0).block("rom", 1024).u64(1 << 32).close();
    shared.part().fill("rom", 0, 0).close().end().close();
    let mut huge = Stream::new("none", 1024);
    huge.page_bits(10).postcopy_advise(0x20_0400).start(4096);
    huge.block("ram", 2048).u64(0x20_0000).block("rom", 1024).block("hot", 1024).u64(0x20_0000);
    huge.close().part().fill("hot", 0, 0).close().end().close();
    let mut old = Stream::default();
    old.raw(b"QEVM\0\0\0\x03").start(4096).block("ram", 4096).u64(0x10);
    old.part().fill("ram", 0, 0).u64(0x10).end().u64(0x10).devices();
    let mut empty = Stream::new("none", 1024);
    empty.blocks(&[]).part().close().end().close();
    let made =
        [("whole", whole), ("shared", shared), ("huge", huge), ("old", old), ("empty", empty)];
    for (name, stream) in made {
        fs::write(folder.join(name), &stream.bytes).unwrap();
    }
}
