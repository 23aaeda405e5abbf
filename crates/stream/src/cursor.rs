//! Reads an item of the stream out of bytes that may end too early.

use crate::{DecodeError, StreamFault};

/// Why an item could not be read to its end.
#[derive(Debug)]
pub(crate) enum CursorHalt<E> {
    /// The item has at least this many bytes, counted from its beginning: read it again then.
    Need(usize),
    /// It is wrong.
    Decode(DecodeError),
    /// The visitor does not want it.
    Visitor(E),
}

/// The bytes of an item and what comes after it, read from the front.
#[derive(Debug)]
pub(crate) struct ItemCursor<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the item begins in the stream.
    start: u64,
}

impl<'a> ItemCursor<'a> {
    pub(crate) fn new(bytes: &'a [u8], start: u64) -> Self {
        Self { bytes, at: 0, start }
    }

    /// How many bytes were read.
    pub(crate) fn taken(&self) -> usize {
        self.at
    }

    /// The next bytes, none of which is read by this.
    pub(crate) fn peek<E>(&self, bytes: usize) -> Result<&'a [u8], CursorHalt<E>> {
        // No overflow: nothing that is asked for is longer than a page and a name.
        let end = self.at + bytes;
        self.bytes.get(self.at..end).ok_or(CursorHalt::Need(end))
    }

    pub(crate) fn take<E>(&mut self, bytes: usize) -> Result<&'a [u8], CursorHalt<E>> {
        let taken = self.peek(bytes)?;
        self.at += bytes;
        Ok(taken)
    }

    fn array<const N: usize, E>(&mut self) -> Result<[u8; N], CursorHalt<E>> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u8<E>(&mut self) -> Result<u8, CursorHalt<E>> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16<E>(&mut self) -> Result<u16, CursorHalt<E>> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32<E>(&mut self) -> Result<u32, CursorHalt<E>> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64<E>(&mut self) -> Result<u64, CursorHalt<E>> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn peek_u64<E>(&self) -> Result<u64, CursorHalt<E>> {
        ItemCursor { bytes: self.bytes, ..*self }.u64()
    }

    /// A name: its length in one byte, then its bytes.
    pub(crate) fn counted<E>(&mut self) -> Result<&'a [u8], CursorHalt<E>> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    /// The field that ends here and has this many bytes is wrong.
    pub(crate) fn wrong<T, E>(&self, field: usize, fault: StreamFault) -> Result<T, CursorHalt<E>> {
        let offset = self.start + (self.at - field) as u64;
        Err(CursorHalt::Decode(DecodeError { offset, fault }))
    }
}

/// The bytes of a name, for an error.
pub(crate) fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
