//! What hostile and broken peers say, as a table: a name, and a peer that says it and waits until the
//! receiver has hung up.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

use crate::peer::{SocketPeer, full, layout, record, round_end, varint};
use memtwin_wire::{FrameKind, RefuseCode, WireMessage};
use std::net::SocketAddr;

pub(crate) type Case = (&'static str, Box<dyn Fn(SocketAddr)>);

pub(crate) fn sixteen() -> Vec<u8> {
    layout(&[(b"r", 0, 12, 16)])
}

/// Bytes in place of a HELLO.
fn raw(name: &'static str, bytes: Vec<u8>) -> Case {
    let said = move |address| {
        let mut peer = SocketPeer::calls(address);
        peer.raw(&bytes);
        peer.until_dropped();
    };
    (name, Box::new(said))
}

/// One frame in place of a HELLO, changed after it was sealed.
fn head(name: &'static str, kind: FrameKind, body: &'static [u8], harm: fn(&mut Vec<u8>)) -> Case {
    let said = move |address| {
        let mut peer = SocketPeer::calls(address);
        let mut frame = peer.frame(kind, body);
        harm(&mut frame);
        peer.raw(&frame);
        peer.until_dropped();
    };
    (name, Box::new(said))
}

/// A HELLO that speaks these versions, of which ours is none.
fn versions(name: &'static str, low: u16, high: u16) -> Case {
    let said = move |address| {
        let mut peer = SocketPeer::calls(address);
        let body = [b"MEMTWIN\n", &low.to_le_bytes()[..], &high.to_le_bytes(), &[1; 32]].concat();
        peer.send(FrameKind::Hello, &body);
        let (kind, _) = peer.hear().unwrap();
        assert_eq!(kind, FrameKind::Refuse);
        peer.until_dropped();
    };
    (name, Box::new(said))
}

/// A LAYOUT that is refused.
fn regions(name: &'static str, body: Vec<u8>) -> Case {
    let said = move |address| {
        let mut peer = SocketPeer::calls(address);
        peer.hello();
        peer.send(FrameKind::Layout, &body);
        assert!(peer.hears(FrameKind::Refuse), "not refused");
        peer.until_dropped();
    };
    (name, Box::new(said))
}

/// Frames after READY, the last of which is refused.
fn first(name: &'static str, frames: Vec<(FrameKind, Vec<u8>)>) -> Case {
    let said = move |address| {
        let mut peer = SocketPeer::calls(address);
        peer.begin(&sixteen());
        frames.iter().for_each(|(kind, body)| peer.send(*kind, body));
        assert!(peer.hears(FrameKind::Refuse), "not refused");
        peer.until_dropped();
    };
    (name, Box::new(said))
}

fn data(name: &'static str, body: Vec<u8>) -> Case {
    first(name, vec![(FrameKind::Data, body)])
}

/// A body that claims to open to this length.
fn squeezed(len: u32, bytes: &[u8]) -> Vec<u8> {
    [&len.to_le_bytes()[..], bytes].concat()
}

pub(crate) fn before_hello() -> Vec<Case> {
    let tls = [&[0x16, 3, 1, 0, 0xf8, 1, 0, 0, 0xf4, 3, 3][..], &[9; 240]].concat();
    let noise: Vec<u8> =
        (0..1 << 16).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    vec![
        raw("noise", noise),
        raw("http", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(10)),
        raw("a TLS hello", tls),
        head(
            "another magic",
            FrameKind::Hello,
            b"MEMTWIN1____________________________________",
            |_| (),
        ),
        head("a head with a wrong sum", FrameKind::Hello, &[1; 44], |frame| frame[20] ^= 1),
        head("a body with a wrong sum", FrameKind::Hello, &[1; 44], |frame| frame[30] ^= 1),
        head("a HELLO too long", FrameKind::Hello, &[1; 4001], |_| ()),
        head("a HELLO too short", FrameKind::Hello, b"MEMTWIN\n", |_| ()),
        head("pages first", FrameKind::Data, b"", |_| ()),
        head("a question first", FrameKind::Fetch, &[0; 13], |_| ()),
        head("a verdict first", FrameKind::Verdict, &[2, 0], |_| ()),
        head("a WELCOME", FrameKind::Welcome, &[0; 23], |_| ()),
        head("a frame of a journal", FrameKind::Base, &[0; 20], |_| ()),
        versions("2 to 5", 2, 5),
        versions("0 to 0", 0, 0),
        versions("5 to 1", 5, 1),
        versions("the last", u16::MAX, u16::MAX),
        versions("2 to 1", 2, 1),
        (
            "heads that nobody sealed right",
            Box::new(|address| {
                // A length past the largest, an unknown kind, a bit that must be zero, a later number.
                let harms: [(usize, u8); 5] = [(2, 0x11), (3, 0xff), (4, 0x99), (5, 1), (8, 1)];
                for (at, byte) in harms {
                    let mut peer = SocketPeer::calls(address);
                    let mut frame = peer.frame(FrameKind::Hello, &[1; 44]);
                    frame[at] = byte;
                    let seed = crc32c_of(&[&[0; 16], &b"S"[..], &frame[..20]].concat());
                    frame[20..24].copy_from_slice(&seed.to_le_bytes());
                    peer.raw(&frame);
                    peer.until_dropped();
                }
            }),
        ),
        (
            "a second HELLO",
            Box::new(|address| {
                let mut peer = SocketPeer::calls(address);
                peer.hello();
                peer.send(FrameKind::Hello, &[1; 44]);
                assert!(peer.hears(FrameKind::Refuse));
                peer.until_dropped();
            }),
        ),
        (
            "signs of life and nothing else",
            Box::new(|address| {
                let mut peer = SocketPeer::calls(address);
                peer.hello();
                (0..300).for_each(|_| peer.say(&WireMessage::Ping(1)));
                peer.until_dropped();
            }),
        ),
        (
            "hung up half way",
            Box::new(|address| {
                let mut peer = SocketPeer::calls(address);
                peer.hello();
                peer.raw(&[3; 10]);
            }),
        ),
    ]
}

pub(crate) fn layouts() -> Vec<Case> {
    let many: Vec<(Vec<u8>, u64, u8, u64)> =
        (0..4097).map(|i| (format!("r{i}").into_bytes(), 0, 12, 1)).collect();
    let many: Vec<_> = many.iter().map(|(n, g, s, p)| (n.as_slice(), *g, *s, *p)).collect();
    vec![
        regions("none", layout(&[])),
        regions("4097", layout(&many)),
        regions("two of a name", layout(&[(b"a", 0, 12, 1), (b"a", 0, 12, 1)])),
        regions("a long name", layout(&[(&[b'n'; 256], 0, 12, 1)])),
        regions("a name that is no text", layout(&[(b"\xff\xfe", 0, 12, 1)])),
        regions("a name for a terminal", layout(&[(b"\x1b[2Jram", 0, 12, 1)])),
        regions("pages of 2^31", layout(&[(b"a", 0, 31, 1)])),
        regions("pages of 2^255", layout(&[(b"a", 0, 255, 1)])),
        regions("pages of 1", layout(&[(b"a", 0, 0, 1)])),
        regions("no pages", layout(&[(b"a", 0, 12, 0)])),
        regions("past the last address", layout(&[(b"a", !0xfff, 12, 2)])),
        regions("2^62 pages", layout(&[(b"a", 0, 12, 1 << 62)])),
        regions(
            "more than 2^63 together",
            layout(&[(b"a", 0, 12, 1 << 50), (b"b", 0, 12, 1 << 50)]),
        ),
        regions("regions that do not come", varint(4096)),
        regions("2^63 regions", varint(1 << 63)),
        regions("an empty body", Vec::new()),
        // Larger than what is free, than a file can be, than memory.
        regions("2^62 bytes", layout(&[(b"a", 0, 12, 1 << 50)])),
        regions("2^45 bytes of small pages", layout(&[(b"a", 0, 9, 1 << 36)])),
    ]
}

pub(crate) fn first_rounds() -> Vec<Case> {
    let nothing = || record(2, &[0, 0, 16], &[]);
    let bomb = [&[0x1f, 0, 1, 0][..], &[0xff; 4100], &[0]].concat();
    vec![
        first(
            "incomplete",
            vec![(FrameKind::Data, full(0, 15)), (FrameKind::RoundEnd, round_end(0, 15))],
        ),
        first(
            "a wrong count",
            vec![(FrameKind::Data, full(0, 16)), (FrameKind::RoundEnd, round_end(0, 17))],
        ),
        data("past the end", full(1, 16)),
        data("another region", record(2, &[1, 0, 1], &[])),
        data("2^63 zeros", record(2, &[0, 0, 1 << 63], &[])),
        data("zeros past 2^64", record(2, &[0, u64::MAX, 2], &[])),
        data("no blocks", record(2, &[0, 0, 0], &[])),
        data("all zeros twice", [nothing(), nothing()].concat()),
        data("a delta of nothing", record(3, &[0, 0, 1, 0, 1], &[0; 8])),
        data("half good", [full(0, 8), full(15, 2)].concat()),
        data("an unknown tag", record(9, &[0, 0], &[])),
        data("a long number", [&[2][..], &[0xff; 11]].concat()),
        first("an LZ4 bomb", vec![(FrameKind::DataLz4, squeezed(1 << 20, &bomb))]),
        first("LZ4 of 4 GiB", vec![(FrameKind::DataLz4, squeezed(u32::MAX, &[0]))]),
        first("broken zstd", vec![(FrameKind::DataZstd, squeezed(100, &[7; 50]))]),
        first("no length", vec![(FrameKind::DataZstd, vec![1, 2])]),
        first("an end alone", vec![(FrameKind::RoundEnd, round_end(0, 0))]),
        first("the last round", vec![(FrameKind::RoundEnd, round_end(u32::MAX, u64::MAX))]),
        first("a verdict", vec![(FrameKind::Verdict, vec![2, 0])]),
        first("an identical verdict", vec![(FrameKind::Verdict, [&[0, 0][..], &[0; 64]].concat())]),
        first(
            "digests",
            vec![(FrameKind::AskDigests, [&[0][..], &[0; 8], &[1, 0, 0, 0, 1, 0, 0, 0]].concat())],
        ),
        first("a fetch", vec![(FrameKind::Fetch, [&[0][..], &[0; 8], &[1, 0, 0, 0]].concat())]),
        first("a goodbye", vec![(FrameKind::Bye, Vec::new())]),
        first("a WELCOME of a sender", vec![(FrameKind::Welcome, vec![0; 23])]),
        first("an ACK of a sender", vec![(FrameKind::Ack, vec![0; 4])]),
        first("a frame of a journal", vec![(FrameKind::Base, vec![0; 20])]),
        first("other regions", vec![(FrameKind::Layout, sixteen())]),
        (
            "a refusal",
            Box::new(|address| {
                let mut peer = SocketPeer::calls(address);
                peer.begin(&sixteen());
                let why = "\x1b[2J".into();
                peer.say(&WireMessage::Refuse { code: RefuseCode::Over, why });
                peer.until_dropped();
            }),
        ),
        (
            "hung up in the middle",
            Box::new(|address| {
                let mut peer = SocketPeer::calls(address);
                peer.begin(&sixteen());
                peer.send(FrameKind::Data, &full(0, 8));
            }),
        ),
    ]
}

/// CRC-32C, bit by bit: a head that is wrong must have a right sum.
fn crc32c_of(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 }
        })
    })
}
