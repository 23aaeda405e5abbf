//! A visitor that keeps nothing but a digest, and checks what it is told: for bytes of any kind.
//! The fuzz target and the bounded run share it.

#![allow(clippy::expect_used, reason = "a test ends at what must not be")]

use memtwin_stream::{
    BlockEntry, DecodeError, Decoder, FeedError, SectionKind, StreamCommand, StreamLimits,
    StreamVisitor,
};
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};

/// What a visitor was told, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// Of all calls and their bytes, in order.
    digest: u64,
    pub(crate) pages: u64,
    pub(crate) end: Result<(), DecodeError>,
}

#[derive(Default)]
struct Watch {
    digest: DefaultHasher,
    blocks: Option<Vec<u64>>,
    /// What a page must be a multiple of, at least: the smallest page size until the first page.
    page_bytes: usize,
    seen_page: bool,
    pages: u64,
    in_section: u64,
    sections: u64,
    over: bool,
}

impl Watch {
    fn page_is_inside(&mut self, block: usize, offset: u64) {
        assert!(!self.over, "a page after the end of RAM");
        let blocks = self.blocks.as_ref().expect("a page before the blocks");
        assert_eq!(offset % self.page_bytes as u64, 0);
        assert!(offset + self.page_bytes as u64 <= blocks[block]);
        self.pages += 1;
        self.in_section += 1;
        (block, offset).hash(&mut self.digest);
    }
}

impl StreamVisitor for Watch {
    type Error = Infallible;

    fn machine(&mut self, name: &str) {
        name.hash(&mut self.digest);
    }

    fn blocks(&mut self, blocks: &[BlockEntry]) -> Result<(), Infallible> {
        assert!(self.blocks.is_none(), "the blocks come once");
        assert!(blocks.len() <= StreamLimits::default().blocks);
        let total: u64 = blocks.iter().map(|block| block.used_bytes).sum();
        assert!(total <= StreamLimits::default().ram_bytes);
        for block in blocks {
            block.name.hash(&mut self.digest);
            (block.used_bytes, block.gpa, block.page_bytes).hash(&mut self.digest);
        }
        self.blocks = Some(blocks.iter().map(|block| block.used_bytes).collect());
        Ok(())
    }

    fn page(&mut self, block: usize, offset: u64, bytes: &[u8]) -> Result<(), Infallible> {
        if !self.seen_page {
            self.page_bytes = bytes.len();
            self.seen_page = true;
        }
        assert_eq!(bytes.len(), self.page_bytes);
        self.page_is_inside(block, offset);
        bytes.hash(&mut self.digest);
        Ok(())
    }

    fn fill(&mut self, block: usize, offset: u64, byte: u8) -> Result<(), Infallible> {
        self.page_is_inside(block, offset);
        byte.hash(&mut self.digest);
        Ok(())
    }

    fn section(&mut self, kind: SectionKind, pages: u64) -> Result<(), Infallible> {
        assert!(!self.over);
        assert_eq!(kind == SectionKind::Start, self.sections == 0);
        assert_eq!(pages, std::mem::take(&mut self.in_section));
        self.sections += 1;
        self.over = kind == SectionKind::End;
        (kind, pages).hash(&mut self.digest);
        Ok(())
    }

    fn command(&mut self, command: StreamCommand) -> Result<(), Infallible> {
        command.hash(&mut self.digest);
        Ok(())
    }
}

/// Decodes the pieces, up to the first error.
pub(crate) fn watch<'a>(page_bytes: u32, pieces: impl IntoIterator<Item = &'a [u8]>) -> Told {
    let mut watch = Watch { page_bytes: 256, ..Watch::default() };
    let mut decoder = Decoder::new(StreamLimits::default(), page_bytes);
    let mut end = Ok(());
    for piece in pieces {
        let before = decoder.offset();
        match decoder.feed(piece, &mut watch) {
            Ok(()) => assert_eq!(decoder.offset(), before + piece.len() as u64),
            Err(FeedError::Decode(error)) => {
                assert_eq!(decoder.finish(), Err(error.clone()));
                let again = decoder.feed(piece, &mut watch);
                assert_eq!(again, Err(FeedError::Decode(error.clone())));
                end = Err(error);
                break;
            }
        }
    }
    if end.is_ok() {
        end = decoder.finish();
    }
    assert!(end.is_err() || watch.over);
    Told { digest: watch.digest.finish(), pages: watch.pages, end }
}

/// Cuts bytes into pieces of the given lengths, over and over.
pub(crate) fn cut<'a>(bytes: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut rest = bytes;
    let mut lengths = lengths.iter().copied().cycle();
    while !rest.is_empty() {
        let length = lengths.next().unwrap_or(rest.len()).clamp(1, rest.len());
        let (piece, later) = rest.split_at(length);
        pieces.push(piece);
        rest = later;
    }
    pieces
}

/// Decodes bytes of any kind whole and under cuts, which must make no difference.
pub(crate) fn agrees_under_cuts(bytes: &[u8]) -> Told {
    let page_bytes = [4096, 256, 4096, 1024][bytes.len() % 4];
    let whole = watch(page_bytes, [bytes]);
    for lengths in [&[1][..], &[bytes.len() / 2 + 1], &[7, 4104, 1, 1023]] {
        assert_eq!(watch(page_bytes, cut(bytes, lengths)), whole, "cut into {lengths:?}");
    }
    whole
}
