//! Bytes of any kind, taken as everything that the codec reads: what is understood stays within its
//! bounds and is understood the same again. The fuzz target and the bounded run share it.

#![allow(clippy::unwrap_used, reason = "a test ends at what must not be")]

use memtwin_pages::{Gpa, Layout, PageSize, Region};
use memtwin_wire::{
    Decompressor, Direction, FrameKind, HEAD, Inbox, MOST_BODY, Opener, PageRecord, PageRecords,
    SealKey, Sealer, TwinShape, WireError, WireMessage, decode_layout, encode_layout,
};

/// What comes from a peer, byte by byte and kind by kind.
pub(crate) fn is_bounded(bytes: &[u8]) {
    let Some((&choice, body)) = bytes.split_first() else { return };
    as_stream(body);
    for kind in FrameKind::ALL {
        as_message(kind, body);
    }
    as_records(body);
    as_layout(body);
    as_sealed(FrameKind::ALL[usize::from(choice) % FrameKind::ALL.len()], body);
}

/// Frames of a stream of which nobody sealed anything, or by chance somebody did: the same however
/// it is cut.
fn as_stream(bytes: &[u8]) {
    let whole = frames(bytes, bytes.len());
    for cut in [1, 7, HEAD + 1] {
        assert_eq!(frames(bytes, cut), whole, "cut at {cut}");
    }
}

fn frames(bytes: &[u8], cut: usize) -> (Vec<(FrameKind, Vec<u8>)>, Option<WireError>) {
    let mut inbox = Inbox::new(Opener::new(SealKey::OPENING, Direction::FromSender));
    let mut taken = Vec::new();
    let mut rest = bytes;
    loop {
        match inbox.take_frame() {
            Ok(Some(kind)) => taken.push((kind, inbox.body().to_vec())),
            Ok(None) if rest.is_empty() => return (taken, None),
            Ok(None) => {
                let space = inbox.space();
                assert!(!space.is_empty() && space.len() <= HEAD + MOST_BODY as usize);
                let len = rest.len().min(cut.max(1)).min(space.len());
                space[..len].copy_from_slice(&rest[..len]);
                inbox.filled(len);
                rest = &rest[len..];
            }
            Err(error) => return (taken, Some(error)),
        }
    }
}

/// What is understood says the same when it is said again.
fn as_message(kind: FrameKind, body: &[u8]) {
    if let Ok(message) = WireMessage::read(kind, body) {
        assert_eq!(message.kind(), kind);
        let again = message.frame();
        assert_eq!(WireMessage::read(kind, &again[HEAD..]).unwrap(), message);
    }
}

/// Records change nothing but the blocks of their layout.
fn as_records(body: &[u8]) {
    let (mut lz4, mut zstd) = (Decompressor::default(), Decompressor::default());
    let opened = [lz4.body(FrameKind::DataLz4, body), zstd.body(FrameKind::DataZstd, body)];
    assert!(opened.iter().flatten().all(|opened| opened.len() <= MOST_BODY as usize));
    let shape = TwinShape::of(&layout());
    for body in [body].into_iter().chain(opened.into_iter().flatten()) {
        let Ok(records) = PageRecords::check(body, &shape) else { continue };
        for record in records {
            let (region, first, count) = record.blocks();
            assert!(first + count <= shape.count(region));
            let block = shape.block(region);
            match record {
                PageRecord::Full { bytes, .. } => {
                    assert_eq!(bytes.len() as u64, count * block as u64)
                }
                PageRecord::Zero { .. } => {}
                PageRecord::Delta { delta, .. } => delta.apply(&mut vec![0; block]),
            }
        }
    }
}

/// A layout that is understood is written as it was read.
fn as_layout(body: &[u8]) {
    if let Ok(layout) = decode_layout(body) {
        let mut again = Vec::new();
        encode_layout(&layout, &mut again).unwrap();
        assert_eq!(decode_layout(&again).unwrap(), layout);
    }
}

/// The same bytes in a frame whose sums are right, as from a peer that means harm.
fn as_sealed(kind: FrameKind, body: &[u8]) {
    let body = &body[..body.len().min(MOST_BODY as usize)];
    let mut frame = [&[0; HEAD][..], body].concat();
    Sealer::new(SealKey::OPENING, Direction::FromSender).seal(kind, &mut frame);
    let (taken, error) = frames(&frame, frame.len());
    assert_eq!((taken, error), (vec![(kind, body.to_vec())], None));
}

/// Two regions, one with pages of several blocks.
fn layout() -> Layout {
    let region = |name: &str, gpa, bytes, page| {
        Region::new(name, Gpa(gpa), bytes, PageSize::new(page).unwrap()).unwrap()
    };
    Layout::new(vec![
        region("ram", 0, 64 << 12, 1 << 12),
        region("huge", 1 << 30, 2 << 21, 2 << 20),
    ])
}
