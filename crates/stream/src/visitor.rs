//! What a stream says, and who is told.

/// A RAMBlock, as the source lists it before the first page. Its pages are told by its place in
/// the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockEntry {
    /// Its name (`idstr`), such as `pc.ram`; no two have the same.
    pub name: String,
    /// Its used length, a multiple of the page size.
    pub used_bytes: u64,
    /// Where it lies in its container, sent with the capability `x-ignore-shared` only. A block
    /// that is shared memory is then listed and has no pages.
    pub gpa: Option<u64>,
    /// The page size of the memory behind it in bytes, sent with the capability `postcopy-ram`
    /// only, and only where it is not the source host's usual one (hugetlbfs).
    pub page_bytes: Option<u64>,
}

/// Which of the three kinds of a RAM section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SectionKind {
    /// The first: the list of blocks.
    Start,
    /// A burst of pages in pre-copy. One without a page says that nothing was pending.
    Part,
    /// The last: the guest stands still, and what was still dirty is in it.
    End,
}

/// What the source orders outside the sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamCommand {
    /// It listens to what the destination says ([`return_path`](crate::return_path)).
    OpenReturnPath,
    /// It asks for a [`pong`](crate::return_path::pong) with this number.
    Ping(u32),
    /// Its capability `postcopy-ram` or `dirty-bitmaps` is on. Nothing follows from it as long as
    /// postcopy is not started.
    PostcopyAdvise,
    /// It has stopped the guest and sends the rest (QEMU 10.0 and later).
    SwitchoverStart,
}

/// Is told what is in a stream, in its order.
///
/// An error ends the decoding: [`Decoder::feed`](crate::Decoder::feed) returns it.
pub trait StreamVisitor {
    /// Why the visitor can't take what it is told.
    type Error;

    /// The source's machine type, such as `pc-i440fx-10.0`.
    fn machine(&mut self, _name: &str) {}

    /// The blocks, once, before the first page.
    fn blocks(&mut self, blocks: &[BlockEntry]) -> Result<(), Self::Error>;

    /// A dirty bitmap of the block layer that is migrated with this stream, by the name of its node (or of
    /// the device that it is a disk of) and its own. With the capability `dirty-bitmaps` only, and before
    /// the first page.
    fn bitmap(&mut self, _node: &str, _name: &str) -> Result<(), Self::Error> {
        Ok(())
    }

    /// All of these were named.
    fn bitmaps_listed(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }

    /// The bytes of a page: [`page_bytes`](crate::Decoder::page_bytes) of them. `block` is a place
    /// in the list of blocks, `offset` a multiple of the page size that lies in the block.
    fn page(&mut self, block: usize, offset: u64, bytes: &[u8]) -> Result<(), Self::Error>;

    /// A page that has the same byte everywhere: zero, from any QEMU of these days.
    fn fill(&mut self, block: usize, offset: u64, byte: u8) -> Result<(), Self::Error>;

    /// A section of RAM was closed, its footer checked; `pages` is how many page records it had.
    fn section(&mut self, _kind: SectionKind, _pages: u64) -> Result<(), Self::Error> {
        Ok(())
    }

    /// A command.
    fn command(&mut self, _command: StreamCommand) -> Result<(), Self::Error> {
        Ok(())
    }
}
