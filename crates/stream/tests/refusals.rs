//! What is refused: each by hand, with the offset of the field and what is said.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may end at what it did not expect"
)]

mod common;

use common::encode::{RAM_ID, Stream};
use common::{Call, Calls, Full, decode};
use memtwin_stream::{
    DecodeError, Decoder, Feature, FeedError, SectionKind, StreamFault, StreamLimits, StreamPhase,
};

/// A stream up to the first part of RAM, with two blocks of two pages.
fn begun() -> Stream {
    let mut stream = Stream::new("pc", 4096);
    stream.blocks(&[("ram", 8192), ("rom", 8192)]).part();
    stream
}

/// Requires that what was written ends in a field of this many bytes that is wrong.
#[track_caller]
fn refused(stream: &Stream, field: usize, fault: StreamFault) {
    let (.., end) = decode(4096, [&stream.bytes[..]]);
    let offset = (stream.bytes.len() - field) as u64;
    assert_eq!(end, Err(DecodeError { offset, fault: fault.clone() }));
    let (_, decoder, end) = decode(4096, stream.bytes.chunks(1));
    assert_eq!(end, Err(DecodeError { offset, fault }));
    assert!(decoder.offset() <= offset, "the item begins before the field");
    let text = end.unwrap_err().to_string();
    assert!(!text.contains('\n') && text.len() < 600, "{text}");
}

#[test]
fn the_header() {
    let mut stream = Stream::default();
    refused(stream.raw(b"HTTP"), 4, StreamFault::Magic { got: 0x4854_5450 });
    let mut stream = Stream::default();
    refused(stream.raw(b"QEVM\0\0\0\x02"), 4, StreamFault::Version { got: 2 });
    let mut stream = Stream::default();
    refused(stream.raw(b"QEVM\0\0\0\x03\x63"), 1, StreamFault::NoConfiguration { got: 0x63 });
    let mut stream = Stream::default();
    stream.raw(b"QEVM\0\0\0\x03\x07\xff\xff\xff\xff");
    let fault = StreamFault::TooLong { what: "a machine type", most: 255, got: 0xffff_ffff };
    refused(&stream, 4, fault);
    let mut stream = Stream::default();
    stream.raw(b"QEVM\0\0\0\x03\x07\0\0\0\x02p\xff");
    refused(&stream, 2, StreamFault::NotText { what: "a machine type", got: "p\u{fffd}".into() });
}

#[test]
fn the_configuration() {
    let mut stream = Stream::new("pc", 4096);
    stream.subsection("configuration/dreams");
    let fault = StreamFault::Subsection { name: "configuration/dreams".into(), version: 1 };
    refused(&stream, 24, fault);
    for bits in [0, 7, 17, 64, u32::MAX] {
        refused(Stream::new("pc", 4096).page_bits(bits), 4, StreamFault::PageBits { bits });
    }
    let mut stream = Stream::new("pc", 4096);
    stream.subsection("configuration/capabilities").u32(1).name("mapped-ram");
    refused(&stream, 10, StreamFault::Capability { name: "mapped-ram".into() });
    let mut stream = Stream::new("pc", 4096);
    stream.subsection("configuration/capabilities").u32(0x0100_0000);
    let fault = StreamFault::TooLong { what: "capabilities", most: 255, got: 0x0100_0000 };
    refused(&stream, 4, fault);
}

#[test]
fn a_page_size_that_is_none() {
    for bytes in [0, 1, 128, 4095, 1 << 17] {
        let mut decoder = Decoder::new(StreamLimits::default(), bytes);
        let error = DecodeError { offset: 0, fault: StreamFault::PageBytes { bytes } };
        assert_eq!(decoder.feed(b"Q", &mut Calls::default()), Err(error.clone().into()));
        assert_eq!(decoder.finish(), Err(error));
    }
}

#[test]
fn commands() {
    for command in [0, 4, 5, 6, 7, 8, 9, 10, 12, 0xffff] {
        let mut stream = Stream::new("pc", 4096);
        refused(stream.u8(8).u16(command), 2, StreamFault::Command { command });
    }
    for (command, expected, got) in [(1, 0, 1), (2, 4, 0xffff), (3, 16, 8), (11, 0, 4)] {
        let mut stream = Stream::new("pc", 4096);
        stream.u8(8).u16(command).u16(got);
        refused(&stream, 2, StreamFault::CommandLength { command, expected, got });
    }
}

#[test]
fn a_page_size_that_is_not_the_source_s() {
    let mut stream = Stream::new("pc", 1024);
    stream.postcopy_advise(0x1000);
    refused(&stream, 8, StreamFault::AdvisedPage { expected: 4096, got: 1024 });
}

#[test]
fn sections() {
    let mut stream = Stream::new("pc", 4096);
    refused(stream.u8(0x2a), 1, StreamFault::Section { got: 0x2a });
    for got in [0, 6] {
        refused(Stream::new("pc", 4096).u8(got), 1, StreamFault::EndedEarly { got });
    }
    let mut stream = Stream::new("pc", 4096);
    stream.u8(1).u32(9).name("0000:00:03.0/vfio");
    refused(&stream, 17, StreamFault::Foreign { name: "0000:00:03.0/vfio".into() });
    let mut stream = Stream::new("pc", 4096);
    refused(stream.u8(4).u32(9).name("timer"), 5, StreamFault::Foreign { name: "timer".into() });
    let mut stream = Stream::new("pc", 4096);
    stream.u8(1).u32(9).name("ram").u32(1);
    refused(&stream, 4, StreamFault::RamSection { what: "instance", expected: 0, got: 1 });
    let mut stream = Stream::new("pc", 4096);
    stream.u8(1).u32(9).name("ram").u32(0).u32(3);
    refused(&stream, 4, StreamFault::RamSection { what: "version", expected: 4, got: 3 });
    let mut stream = Stream::new("pc", 4096);
    refused(stream.part(), 4, StreamFault::NotStarted { id: RAM_ID });
    let mut stream = begun();
    stream.close().u8(3).u32(77);
    refused(&stream, 4, StreamFault::SectionId { expected: RAM_ID, got: 77 });
    let mut stream = begun();
    refused(stream.u64(0x10).u8(2), 1, StreamFault::NoFooter { got: 2 });
    let mut stream = begun();
    stream.u64(0x10).u8(0x7e).u32(9);
    refused(&stream, 4, StreamFault::SectionId { expected: RAM_ID, got: 9 });
    let mut stream = begun();
    refused(stream.close().u8(1).u32(5).name("ram"), 3, StreamFault::StartedTwice);
}

#[test]
fn the_early_section_of_a_virtio_mem_that_cant_be() {
    let name = "0000:00:02.0/virtio-mem-device-early";
    let head = |version: u32| {
        let mut stream = Stream::new("pc", 4096);
        stream.u8(4).u32(9).name(name).u32(0).u32(version);
        stream
    };
    let name = name.to_owned();
    refused(&head(2), 4, StreamFault::DeviceVersion { name, expected: 1, got: 2 });
    for (region, block) in [(1 << 63, 1 << 21), (1 << 30, 0), (1 << 30, 3), (1 << 20, 1 << 21)] {
        let mut stream = head(1);
        stream.u64(1 << 32).u64(region).u64(block);
        refused(&stream, 16, StreamFault::VirtioMem { region, block });
    }
    // Its footer is checked as any.
    let mut stream = head(1);
    stream.u64(1 << 32).u64(1 << 30).u64(1 << 24).u32(0).u64(0).raw(&[0; 8]).u8(0x7e).u32(8);
    refused(&stream, 4, StreamFault::SectionId { expected: 9, got: 8 });
}

#[test]
fn the_list_of_blocks() {
    let new = || Stream::new("pc", 4096);
    let most = StreamLimits::default().ram_bytes;
    let fault = StreamFault::TooLong { what: "bytes of RAM", most, got: most + 4096 };
    refused(new().start(most + 4096), 8, fault);
    refused(new().start(4096).u8(0), 1, StreamFault::NoName);
    refused(
        new().start(8192).block_of_bytes(b"\xff", 4096).block_of_bytes(b"\xff", 0),
        9,
        StreamFault::BlockTwice { name: "\u{fffd}".into() },
    );
    refused(
        new().start(8192).block("ram", 8193),
        8,
        StreamFault::Total { name: "ram".into(), bytes: 8193, left: 8192 },
    );
    refused(
        new().start(8192).block("ram", 1024),
        8,
        StreamFault::BlockSize { name: "ram".into(), bytes: 1024, page_bytes: 4096 },
    );
    refused(
        new().start(8192).block("ram", 4096).name("ram"),
        3,
        StreamFault::BlockTwice { name: "ram".into() },
    );
    refused(new().ignore_shared().postcopy_advise(0x1000).start(4096), 8, StreamFault::Ambiguous);
    for got in [0x4000_0000, 0, 0x20_1000] {
        refused(
            new().postcopy_advise(0x20_1000).start(1 << 30).block("ram", 1 << 21).u64(got),
            8,
            StreamFault::BlockPage { name: "ram".into(), announced: 0x20_1000, got },
        );
    }
}

#[test]
fn more_blocks_than_allowed() {
    let mut stream = Stream::new("pc", 4096);
    stream.start(1 << 30);
    for number in 0..1024 {
        stream.block(&format!("block {number}"), if number < 2 { 4096 } else { 0 });
    }
    stream.raw(b"");
    let fault = StreamFault::TooLong { what: "blocks", most: 1024, got: 1025 };
    stream.u8(3);
    refused(&stream, 1, fault);
}

#[test]
fn records() {
    for (flags, feature) in [
        (0x40, Feature::Xbzrle),
        (0x60, Feature::Xbzrle),
        (0x80, Feature::Rdma),
        (0x120, Feature::Compress),
        (0x200, Feature::Multifd),
    ] {
        refused(begun().u64(flags), 8, StreamFault::Uses { feature, flags });
    }
    for flags in [0, 0x01, 0x20, 0x0a, 0x18, 0x30, 0x04, 0x400, 0x808] {
        refused(begun().u64(flags), 8, StreamFault::Flags { flags, offset: 0 });
    }
    refused(begun().u64(0x1010), 8, StreamFault::Flags { flags: 0x10, offset: 0x1000 });
    refused(begun().u64(0x28), 8, StreamFault::NoBlock);
    refused(begun().u64(0x08).name("roms"), 4, StreamFault::UnknownBlock { name: "roms".into() });
    for offset in [0x2000, 0xffff_ffff_ffff_f000] {
        let fault = StreamFault::Outside { name: "rom".into(), bytes: 0x2000, offset };
        refused(begun().u64(offset | 8).name("rom"), 12, fault.clone());
        refused(begun().fill("rom", 0, 0).u64(offset | 0x22), 8, fault);
    }
    let mut stream = Stream::new("pc", 4096);
    stream.u8(1).u32(RAM_ID).name("ram").u32(0).u32(4);
    let mut early = stream.clone();
    refused(early.u64(0x08), 8, StreamFault::NoBlocks { flags: 8 });
    refused(stream.u64(0x10), 8, StreamFault::NoBlocks { flags: 0x10 });
}

/// The flags lie below the page size. Of pages of 256 bytes those of compress and of multifd can't, and
/// are seen as an offset without a flag.
#[test]
fn records_of_small_pages() {
    let begun = || {
        let mut stream = Stream::new("uno", 256);
        stream.page_bits(8).blocks(&[("sram", 1024)]).part();
        stream
    };
    for (flags, feature) in [(0x40, Feature::Xbzrle), (0x80, Feature::Rdma)] {
        refused(begun().u64(0x100 | flags), 8, StreamFault::Uses { feature, flags });
    }
    for offset in [0x100, 0x200] {
        refused(begun().u64(offset), 8, StreamFault::Flags { flags: 0, offset });
    }
    for flags in [0x01, 0x0a, 0x18] {
        refused(begun().u64(0x300 | flags), 8, StreamFault::Flags { flags, offset: 0x300 });
    }
    let fault = StreamFault::Outside { name: "sram".into(), bytes: 1024, offset: 1024 };
    refused(begun().u64(1024 | 8).name("sram"), 13, fault);
    let mut stream = begun();
    stream.page("sram", 0x300, 1).page("sram", 0x100, 2).close().end().close();
    let (calls, _, end) = decode(4096, [&stream.bytes[..]]);
    assert_eq!(end, Ok(()));
    let page = |call: &Call| match call {
        Call::Page { offset, bytes, .. } => Some((*offset, bytes.len())),
        _ => None,
    };
    assert_eq!(calls.iter().filter_map(page).collect::<Vec<_>>(), [(0x300, 256), (0x100, 256)]);
}

#[test]
fn an_error_says_where_and_what_helps() {
    let (.., end) = decode(4096, [&begun().u64(0x60).bytes[..]]);
    let text = end.unwrap_err().to_string();
    let said = "byte 82 of the migration stream: the source uses xbzrle: switch that capability off (record with flags 0x60)";
    assert_eq!(text, said);
    let mut stream = Stream::new("pc", 4096);
    stream.u8(1).u32(9).name("0000:00:03.0/vfio");
    let (.., end) = decode(4096, [&stream.bytes[..]]);
    let said = "section \"0000:00:03.0/vfio\" before the end of RAM: expected \"ram\"; unplug the VFIO device";
    assert!(end.unwrap_err().to_string().ends_with(said));
}

#[test]
fn a_visitor_that_fails_is_not_told_more() {
    let mut stream = begun();
    stream.page("ram", 0, 1).page("ram", 4096, 2).page("rom", 0, 3).close().end().close();
    let (all, ..) = decode(4096, [&stream.bytes[..]]);
    for fail_at in 1..all.len() {
        let mut calls = Calls { fail_at: Some(fail_at), ..Calls::default() };
        let mut decoder = Decoder::new(StreamLimits::default(), 4096);
        assert_eq!(decoder.feed(&stream.bytes, &mut calls), Err(FeedError::Visitor(Full)));
        assert_eq!(calls.calls, all[..fail_at]);
        let again = decoder.feed(&stream.bytes, &mut calls).unwrap_err();
        assert!(matches!(&again, FeedError::Decode(error) if error.fault == StreamFault::Stopped));
        assert_eq!(decoder.finish().map_err(FeedError::Decode), Err(again));
        assert_eq!(calls.calls.len(), fail_at);
    }
}

#[test]
fn phases_follow_each_other() {
    let mut stream = Stream::new("pc", 4096);
    let mut seen = vec![(stream.bytes.len(), StreamPhase::Setup)];
    stream.ping(1).blocks(&[("ram", 4096)]);
    seen.push((stream.bytes.len(), StreamPhase::PreCopy));
    stream.part().page("ram", 0, 1);
    seen.push((stream.bytes.len(), StreamPhase::PreCopy));
    stream.close().switchover_start().end();
    seen.push((stream.bytes.len(), StreamPhase::LastPass));
    stream.u64(0x10);
    seen.push((stream.bytes.len(), StreamPhase::LastPass));
    stream.u8(0x7e).u32(RAM_ID);
    seen.push((stream.bytes.len(), StreamPhase::RamEnded));
    // Whatever comes then.
    stream.raw(&[0xff; 10_000]);
    seen.push((stream.bytes.len(), StreamPhase::RamEnded));
    assert_eq!(Decoder::new(StreamLimits::default(), 4096).phase(), StreamPhase::Header);
    for (end, phase) in seen {
        let (_, decoder, _) = decode(4096, [&stream.bytes[..end]]);
        assert_eq!(decoder.phase(), phase, "after {end} bytes");
        assert_eq!(decoder.offset(), end as u64);
    }
}

#[test]
fn a_name_may_have_any_bytes_and_blocks_may_be_empty() {
    let names: [&[u8]; 4] = [b"\x1b[2J\n", b" \xff\x80 ", b"\xff", b"."];
    let mut stream = Stream::new("pc", 4096);
    stream.start(8192);
    for (name, bytes) in names.iter().zip([0, 8192, 0, 0]) {
        stream.block_of_bytes(name, bytes);
    }
    stream.close().part().u64(8).u8(4).raw(names[1]).raw(&[7; 4096]).close().end().close();
    for length in [stream.bytes.len(), 1, 7] {
        let (calls, _, end) = decode(4096, stream.bytes.chunks(length));
        assert_eq!(end, Ok(()));
        let Call::Blocks(blocks) = &calls[1] else { panic!("{calls:?}") };
        let listed: Vec<_> = blocks.iter().map(|it| (&it.name[..], it.used_bytes)).collect();
        assert_eq!(listed, [(names[0], 0), (names[1], 8192), (names[2], 0), (names[3], 0)]);
        assert!(matches!(calls[3], Call::Page { block: 1, offset: 0, .. }), "{:?}", calls[3]);
    }
}

#[test]
fn a_machine_without_memory_has_nothing_to_send() {
    let mut stream = Stream::new("none", 4096);
    stream.blocks(&[]).part().close().end().close();
    let (calls, _, end) = decode(4096, [&stream.bytes[..]]);
    assert_eq!(end, Ok(()));
    assert_eq!(calls[1], Call::Blocks(Vec::new()));
    assert_eq!(calls[4], Call::Section { kind: SectionKind::End, pages: 0 });
}
