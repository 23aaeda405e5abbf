//! What the tests of the decoder share: a visitor that writes down what it is told, and an encoder.

#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod encode;
pub(crate) mod watch;

#[allow(unused_imports, reason = "each test uses a part of it")]
pub(crate) use watch::{cut, watch};

use memtwin_stream::{
    BlockEntry, DecodeError, Decoder, FeedError, SectionKind, StreamCommand, StreamLimits,
    StreamVisitor,
};

/// Something that a visitor was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Machine(String),
    Blocks(Vec<BlockEntry>),
    Page { block: usize, offset: u64, bytes: Vec<u8> },
    Fill { block: usize, offset: u64, byte: u8 },
    Section { kind: SectionKind, pages: u64 },
    Command(StreamCommand),
    Bitmap { node: String, name: String },
    BitmapsListed,
}

/// Writes down what it is told, and fails at one call if it is to.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) calls: Vec<Call>,
    pub(crate) fail_at: Option<usize>,
}

/// What [`Calls`] fails with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Calls {
    fn note(&mut self, call: Call) -> Result<(), Full> {
        if self.fail_at == Some(self.calls.len()) {
            return Err(Full);
        }
        self.calls.push(call);
        Ok(())
    }
}

impl StreamVisitor for Calls {
    type Error = Full;

    fn machine(&mut self, name: &str) {
        self.calls.push(Call::Machine(name.to_owned()));
    }

    fn blocks(&mut self, blocks: &[BlockEntry]) -> Result<(), Full> {
        self.note(Call::Blocks(blocks.to_vec()))
    }

    fn page(&mut self, block: usize, offset: u64, bytes: &[u8]) -> Result<(), Full> {
        self.note(Call::Page { block, offset, bytes: bytes.to_vec() })
    }

    fn fill(&mut self, block: usize, offset: u64, byte: u8) -> Result<(), Full> {
        self.note(Call::Fill { block, offset, byte })
    }

    fn section(&mut self, kind: SectionKind, pages: u64) -> Result<(), Full> {
        self.note(Call::Section { kind, pages })
    }

    fn command(&mut self, command: StreamCommand) -> Result<(), Full> {
        self.note(Call::Command(command))
    }

    fn bitmap(&mut self, node: &str, name: &str) -> Result<(), Full> {
        self.note(Call::Bitmap { node: node.to_owned(), name: name.to_owned() })
    }

    fn bitmaps_listed(&mut self) -> Result<(), Full> {
        self.note(Call::BitmapsListed)
    }
}

/// Feeds the pieces into a new decoder until it fails, and says that the stream has ended there.
pub(crate) fn decode<'a>(
    page_bytes: u32,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Call>, Decoder, Result<(), DecodeError>) {
    let mut calls = Calls::default();
    let mut decoder = Decoder::new(StreamLimits::default(), page_bytes);
    for piece in pieces {
        match decoder.feed(piece, &mut calls) {
            Ok(()) => {}
            Err(FeedError::Decode(error)) => return (calls.calls, decoder, Err(error)),
            Err(FeedError::Visitor(Full)) => panic!("the visitor fails only if asked to"),
        }
    }
    let end = decoder.finish();
    (calls.calls, decoder, end)
}
