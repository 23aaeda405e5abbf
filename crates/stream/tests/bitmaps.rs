//! The section of dirty bitmaps: it is read to its end, its bitmaps are named, and nothing else is taken.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod common;

use common::encode::{BITMAPS_ID, RAM_ID, Stream};
use common::{Call, cut, decode};
use memtwin_stream::{DecodeError, SectionKind, StreamFault, StreamPhase};

/// A first section of RAM, and the head of the first section of bitmaps.
fn begun() -> Stream {
    let mut stream = Stream::new("pc", 4096);
    stream.blocks(&[("ram", 8192)]).bitmaps(1);
    stream
}

fn named(node: &str, name: &str) -> Call {
    Call::Bitmap { node: node.to_owned(), name: name.to_owned() }
}

#[test]
fn the_bitmaps_are_named_and_what_is_in_them_is_passed_over() {
    let mut stream = begun();
    stream.bitmap("disk0", "b0");
    // Of the same node: its name does not come again.
    stream.u8(0x14).name("b1").u32(65536).u8(3).close_bitmaps();
    stream.part().page("ram", 0, 1).close().bitmaps(2).close_bitmaps();
    // Bits, none of them set; bits that are; the end of each bitmap.
    stream.bitmaps(3).u8(0x4e).name("disk0").name("b0").u64(0).u32(8192);
    stream.u8(0x40).u64(8192).u32(64).u64(32).raw(&[0xa5; 32]);
    stream.u8(0x24).name("b1").close_bitmaps();
    stream.end().close().devices();
    for lengths in [&[usize::MAX][..], &[1], &[7, 100]] {
        let (calls, decoder, end) = decode(4096, cut(&stream.bytes, lengths));
        assert_eq!((end, decoder.phase()), (Ok(()), StreamPhase::RamEnded));
        let wanted = [named("disk0", "b0"), named("disk0", "b1"), Call::BitmapsListed];
        let at = calls.iter().position(|call| *call == wanted[0]).unwrap();
        assert_eq!(calls[at..at + 3], wanted);
        assert_eq!(calls.iter().filter(|call| matches!(call, Call::Page { .. })).count(), 1);
    }
}

#[test]
fn a_source_without_a_bitmap_says_so_at_once() {
    let head = include_bytes!("fixtures/dirty-bitmap-x86_64-10.0.head");
    let (calls, _, end) = decode(4096, [&head[..]]);
    let DecodeError { fault, .. } = end.unwrap_err();
    assert_eq!(fault, StreamFault::Truncated { phase: StreamPhase::PreCopy });
    assert!(calls.contains(&Call::BitmapsListed));
    assert!(!calls.iter().any(|call| matches!(call, Call::Bitmap { .. })));
}

#[test]
fn what_can_not_be_there_is_refused_where_it_is() {
    /// What is written behind [`begun`], how long the field is that is wrong, and what was expected.
    type Wrong = (fn(&mut Stream), usize, &'static str);
    let wrong: [Wrong; 10] = [
        (
            |s| {
                s.u8(0x10);
            },
            1,
            "the names of a node and its bitmap",
        ),
        (
            |s| {
                s.u8(0x18).name("disk0");
            },
            7,
            "the names of a node and its bitmap",
        ),
        (
            |s| {
                s.u8(0x1c).name("");
            },
            1,
            "a name",
        ),
        (
            |s| {
                s.u8(0x1c).name("a").name("b").u32(513);
            },
            4,
            "a granularity",
        ),
        (
            |s| {
                s.u8(0x1c).name("a").name("b").u32(512).u8(8);
            },
            1,
            "the flags of a bitmap",
        ),
        (
            |s| {
                s.u8(0x4c).name("a").name("b");
            },
            5,
            "bitmaps in its start",
        ),
        (
            |s| {
                s.u8(0x80);
            },
            1,
            "the names of a node and its bitmap",
        ),
        (
            |s| {
                s.bitmap("a", "b").close_bitmaps().bitmaps(2).u8(0x40);
            },
            1,
            "bitmaps in its start",
        ),
        (
            |s| {
                s.bitmap("a", "b").close_bitmaps().bitmaps(3).u8(0x10);
            },
            1,
            "bitmaps in its start",
        ),
        (
            |s| {
                s.bitmap("a", "b").close_bitmaps().bitmaps(3).u8(0x40).u64(0).u32(1).u64(10241);
            },
            8,
            "a chunk of bits",
        ),
    ];
    for (write, field, what) in wrong {
        let mut stream = begun();
        write(&mut stream);
        for lengths in [&[usize::MAX][..], &[1]] {
            let error = decode(4096, cut(&stream.bytes, lengths)).2.unwrap_err();
            let StreamFault::Bitmap { expected, .. } = error.fault else { panic!("{error}") };
            assert!(expected.starts_with(what), "{expected}");
            assert_eq!(error.offset, (stream.bytes.len() - field) as u64, "{what}");
        }
    }
}

#[test]
fn it_has_a_version_a_footer_and_a_number_of_its_own() {
    let mut version = Stream::new("pc", 4096);
    version.u8(1).u32(BITMAPS_ID).name("dirty-bitmap").u32(0).u32(2);
    let error = decode(4096, [&version.bytes[..]]).2.unwrap_err();
    assert!(matches!(error.fault, StreamFault::DeviceVersion { expected: 1, got: 2, .. }));
    let mut footer = begun();
    footer.u8(1).u8(0x7e).u32(RAM_ID);
    let error = decode(4096, [&footer.bytes[..]]).2.unwrap_err();
    assert_eq!(error.fault, StreamFault::SectionId { expected: BITMAPS_ID, got: RAM_ID });
    let mut twice = begun();
    twice.close_bitmaps().bitmaps(1);
    assert!(decode(4096, [&twice.bytes[..]]).2.is_err());
    let mut number = Stream::new("pc", 4096);
    number.blocks(&[("ram", 8192)]).u8(1).u32(RAM_ID).name("dirty-bitmap").u32(0).u32(1);
    assert!(decode(4096, [&number.bytes[..]]).2.is_err());
    // The control: all is well without it.
    let mut good = begun();
    good.close_bitmaps().part().close().end().close();
    let (calls, _, end) = decode(4096, [&good.bytes[..]]);
    assert_eq!(end, Ok(()));
    assert_eq!(calls.last(), Some(&Call::Section { kind: SectionKind::End, pages: 0 }));
}
