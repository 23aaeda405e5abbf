//! Whole sessions of version 1 as they went over the wire, both directions, in `golden/`: they decode,
//! and every frame and every record of them is encoded again byte for byte.
//!
//! They are what a later version has to understand, and must never change. Each was recorded from a
//! sender and a receiver of this build by the test `sessions_to_be_kept` of `crates/remote`: one that
//! ends identical, with LZ4; one with a page that was lost on purpose, with zstd.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

use memtwin_pages::Layout;
use memtwin_wire::{
    Decompressor, Direction, FrameKind, HEAD, Inbox, Opener, PageRecord, PageRecords, RecordWriter,
    SealKey, Sealer, TwinShape, TwinVerdict, Versions, WireMessage, decode_layout, encode_layout,
};
use std::collections::BTreeSet;
use std::path::Path;

fn golden(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    std::fs::read(folder.join(name)).unwrap()
}

/// One direction of a connection: frames in, the same frames out.
struct Side {
    inbox: Inbox,
    sealer: Sealer,
    bytes: Vec<u8>,
    read: usize,
    again: Vec<u8>,
}

impl Side {
    fn new(bytes: Vec<u8>, from: Direction) -> Self {
        let inbox = Inbox::new(Opener::new(SealKey::OPENING, from));
        Self {
            inbox,
            sealer: Sealer::new(SealKey::OPENING, from),
            bytes,
            read: 0,
            again: Vec::new(),
        }
    }

    fn rekey(&mut self, key: SealKey) {
        self.inbox.rekey(key);
        self.sealer.rekey(key);
    }

    /// The next frame, after it was encoded again.
    fn next(&mut self) -> Option<(FrameKind, Vec<u8>)> {
        let kind = loop {
            if let Some(kind) = self.inbox.take_frame().unwrap() {
                break kind;
            }
            // One byte after the other: what comes after a change of keys is not looked at before.
            let byte = *self.bytes.get(self.read)?;
            self.inbox.space()[0] = byte;
            self.inbox.filled(1);
            self.read += 1;
        };
        let body = self.inbox.body().to_vec();
        let message = WireMessage::read(kind, &body).unwrap();
        self.again.extend(message.sealed(&mut self.sealer));
        Some((kind, body))
    }

    fn is_the_same_again(&self) {
        assert!(self.again == self.bytes, "encoded again it is another stream");
    }
}

/// The twin, made of the records, which are encoded again.
struct Twin {
    layout: Layout,
    shape: TwinShape,
    bytes: Vec<u8>,
}

impl Twin {
    fn apply(&mut self, body: &[u8]) {
        let mut writer = RecordWriter::default();
        for record in PageRecords::from_peer(body, &self.shape).unwrap() {
            let (region, first, count) = record.blocks();
            let block = self.shape.block(region);
            for at in first..first + count {
                let range = self.shape.offset(region, at) as usize..;
                let held = &mut self.bytes[range][..block];
                match &record {
                    PageRecord::Full { bytes, .. } => {
                        let from = (at - first) as usize * block;
                        held.copy_from_slice(&bytes[from..from + block]);
                        writer.full(region, at, held);
                    }
                    PageRecord::Zero { .. } => {
                        held.fill(0);
                        writer.zero(region, at);
                    }
                    PageRecord::Delta { delta, .. } => {
                        let mut new = held.to_vec();
                        delta.apply(&mut new);
                        assert!(writer.update(region, at, held, &new));
                    }
                }
            }
        }
        assert!(writer.frame()[HEAD..] == *body, "the records are others when encoded again");
    }

    fn digests(&self) -> Vec<u8> {
        let mut at = 0;
        let digests = self.layout.iter().map(|(_, region)| {
            let len = region.bytes() as usize;
            at += len;
            *blake3::hash(&self.bytes[at - len..at]).as_bytes()
        });
        digests.collect::<Vec<_>>().concat()
    }
}

/// Decodes a session, and checks what it came to. Returns the kinds of its frames.
fn session(name: &str, expected: TwinVerdict) -> BTreeSet<u8> {
    let mut sender = Side::new(golden(&format!("{name}-sender.bin")), Direction::FromSender);
    let mut receiver = Side::new(golden(&format!("{name}-receiver.bin")), Direction::FromReceiver);
    let (_, hello) = sender.next().unwrap();
    let (_, welcome) = receiver.next().unwrap();
    let (Ok(WireMessage::Hello(hello)), Ok(WireMessage::Welcome(welcome))) = (
        WireMessage::read(FrameKind::Hello, &hello),
        WireMessage::read(FrameKind::Welcome, &welcome),
    ) else {
        panic!("{name}: no HELLO or no WELCOME")
    };
    assert_eq!(hello.versions, Versions { lowest: 1, highest: 1 });
    assert_eq!((welcome.version, welcome.holds), (1, None));
    let key = SealKey::of_connection(&hello.session, &hello.nonce, &welcome.nonce);
    sender.rekey(key);
    receiver.rekey(key);
    let mut kinds = BTreeSet::from([FrameKind::Hello as u8, FrameKind::Welcome as u8]);
    let (mut twin, mut unsqueeze, mut judged) = (None, Decompressor::default(), None);
    while let Some((kind, body)) = sender.next() {
        kinds.insert(kind as u8);
        match WireMessage::read(kind, &body).unwrap() {
            WireMessage::Layout(body) => {
                let layout = decode_layout(body).unwrap();
                let mut again = Vec::new();
                encode_layout(&layout, &mut again).unwrap();
                assert_eq!(again, body);
                let (shape, bytes) = (TwinShape::of(&layout), vec![0xaa; layout.bytes() as usize]);
                twin = Some(Twin { layout, shape, bytes });
            }
            WireMessage::Data(kind, body) => {
                twin.as_mut().unwrap().apply(unsqueeze.body(kind, body).unwrap());
            }
            WireMessage::Verdict { outcome, digests, .. } => {
                assert_eq!(outcome, expected);
                if outcome == TwinVerdict::Identical {
                    assert!(digests == twin.as_ref().unwrap().digests(), "{name}: not its memory");
                }
                judged = Some(outcome);
            }
            _ => {}
        }
    }
    while let Some((kind, body)) = receiver.next() {
        kinds.insert(kind as u8);
        if let WireMessage::Confirm { kept, .. } = WireMessage::read(kind, &body).unwrap() {
            assert_eq!(kept, expected == TwinVerdict::Identical);
        }
    }
    assert_eq!(judged, Some(expected));
    sender.is_the_same_again();
    receiver.is_the_same_again();
    kinds
}

#[test]
fn sessions_of_version_1_are_understood_and_said_again_byte_for_byte() {
    let mut kinds = session("v1-identical", TwinVerdict::Identical);
    kinds.extend(session("v1-differs", TwinVerdict::Differs));
    // Every kind that goes over a wire on which nothing fails.
    let all =
        FrameKind::ALL.iter().filter(|kind| !matches!(kind, FrameKind::Refuse | FrameKind::Base));
    let missing: Vec<_> = all.filter(|kind| !kinds.contains(&(**kind as u8))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The control: a stream in which one bit is another one does not pass.
#[test]
fn a_changed_golden_stream_is_noticed() {
    let mut bytes = golden("v1-identical-sender.bin");
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    let side = std::panic::catch_unwind(|| {
        let mut side = Side::new(bytes, Direction::FromSender);
        while side.next().is_some() {}
        side.is_the_same_again();
    });
    assert!(side.is_err());
}
