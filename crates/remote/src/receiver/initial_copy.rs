//! The first round of a session: every block of it goes straight into PATH.first.
//!
//! What was here before stays as it is until that round is whole ([`CompleteInitialCopy`]). A first round that
//! comes to nothing leaves nothing: its file goes with it.

use super::nonzero_blocks::NonzeroBlocks;
use super::received_image::ReceivedImage;
use super::twin_path::TwinPath;
use crate::RemoteError;
use memtwin_pages::{Layout, PageSet, Run};
use memtwin_twin::{Inode, UnfinishedTwin};
use memtwin_wire::{Record, Records, Round, Shape};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use std::fs::File;
use std::sync::Arc;

/// The first round, until it is whole.
pub(super) const FIRST: &str = ".first";
/// A twin that was not kept.
pub(super) const PARTIAL: &str = ".partial";

/// A first round on its way.
#[derive(Debug)]
pub(super) struct InitialCopy {
    pub(super) session: [u8; 16],
    pub(super) layout: Layout,
    shape: Shape,
    image: ReceivedImage,
    inode: Inode,
    unfinished: UnfinishedTwin,
    scratch: InitialFile,
    covered: Vec<PageSet>,
    written: NonzeroBlocks,
    blocks: u64,
}

/// A session that has shown that it may take the place of what is here: its regions were accepted,
/// there is room for all of them, and every block of its first round has come.
#[derive(Debug)]
pub(super) struct CompleteInitialCopy {
    pub(super) session: [u8; 16],
    pub(super) layout: Layout,
    pub(super) round: u32,
    pub(super) image: ReceivedImage,
    pub(super) inode: Inode,
    pub(super) unfinished: UnfinishedTwin,
    pub(super) scratch: InitialFile,
    pub(super) written: NonzeroBlocks,
}

impl InitialCopy {
    /// Makes room, beside what is there. Nothing that was here before is changed. From the beginning
    /// the file says that it is unfinished, on the disk too.
    pub(super) fn new(
        place: &Arc<TwinPath>,
        session: [u8; 16],
        layout: Layout,
    ) -> Result<Self, RemoteError> {
        // Nothing as large as the layout is made before that.
        let bytes = layout.bytes();
        place.check_room(bytes, PARTIAL)?;
        let (scratch, file) = InitialFile::create(place)?;
        let path = place.path(FIRST);
        let failed = |errno| RemoteError::Disk { doing: "make room in", path: path.clone(), errno };
        let full = || place.no_room(bytes, 0, PARTIAL);
        let unfinished = UnfinishedTwin::begin(&file, bytes).map_err(|errno| {
            match Errno::from_io_error(&errno) {
                // Larger than any file can be here, or than there is room.
                Some(Errno::FBIG | Errno::INVAL | Errno::NOSPC | Errno::DQUOT) => full(),
                _ => failed(errno),
            }
        })?;
        // Where the file system can, the room is taken now: it is there when a round needs it.
        match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => return Err(full()),
            Err(errno) => return Err(failed(errno.into())),
        }
        let shape = Shape::of(&layout);
        let inode = Inode::of(&file.metadata().map_err(failed)?);
        let covered = shape.counts().map(PageSet::new).collect();
        let written = NonzeroBlocks::nothing(&shape);
        let image = ReceivedImage::new(file, path.clone(), bytes);
        Ok(Self {
            session,
            layout,
            shape,
            image,
            inode,
            unfinished,
            scratch,
            covered,
            written,
            blocks: 0,
        })
    }

    /// Writes the records of a frame.
    pub(super) fn records(&mut self, body: &[u8]) -> Result<(), RemoteError> {
        // All of them are checked before the first is written.
        let shape = &self.shape;
        let records = Records::from_peer(body, shape)?;
        let has_delta = |record: Record<'_>| {
            let (region, first, _) = record.blocks();
            matches!(record, Record::Delta { .. }) && !self.covered[region.0].contains(first)
        };
        if records.clone().any(has_delta) {
            return Err(RemoteError::order("a delta of a block that was never sent"));
        }
        for record in records {
            let (region, first, count) = record.blocks();
            self.covered[region.0].insert_run(Run { first, count });
            self.image.apply(&record, shape, &mut self.written)?;
            self.blocks += count;
        }
        Ok(())
    }

    /// Ends it, if every block is there, and as many as the sender says.
    pub(super) fn end(self, round: Round) -> Result<CompleteInitialCopy, RemoteError> {
        check_blocks(round, self.blocks)?;
        let covered: u64 = self.covered.iter().map(PageSet::count).sum();
        if covered != self.shape.blocks() {
            return Err(RemoteError::order(format!(
                "a first round of {covered} blocks, expected all {}",
                self.shape.blocks()
            )));
        }
        let Self { session, layout, image, inode, unfinished, scratch, written, .. } = self;
        let round = round.round;
        Ok(CompleteInitialCopy {
            session,
            layout,
            round,
            image,
            inode,
            unfinished,
            scratch,
            written,
        })
    }
}

/// The file at PATH.first: gone with this, unless it became the twin.
#[derive(Debug)]
pub(super) struct InitialFile {
    place: Arc<TwinPath>,
    there: bool,
}

impl InitialFile {
    fn create(place: &Arc<TwinPath>) -> Result<(Self, File), RemoteError> {
        let file = place.create(FIRST)?;
        Ok((Self { place: Arc::clone(place), there: true }, file))
    }

    /// From now on it is PATH, in place of what was.
    pub(super) fn become_twin(mut self) -> Result<(), RemoteError> {
        self.place.rename(FIRST, "")?;
        self.there = false;
        self.place.sync()
    }

    /// It stays when this goes: a journal names it, and the next life makes it the twin.
    pub(super) fn keep(&mut self) {
        self.there = false;
    }
}

impl Drop for InitialFile {
    fn drop(&mut self) {
        if self.there {
            // What can't be removed is replaced by the next.
            let _ = self.place.remove(FIRST);
        }
    }
}

/// A round has as many blocks as the sender says.
pub(super) fn check_blocks(round: Round, got: u64) -> Result<(), RemoteError> {
    if round.blocks == got {
        return Ok(());
    }
    Err(RemoteError::order(format!(
        "round {} came with {got} blocks, expected {}",
        round.round, round.blocks
    )))
}
