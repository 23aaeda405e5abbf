//! The first round of a session: every block of it goes straight into PATH.first, or onto the device.
//!
//! What was here before stays as it is until that round is whole ([`CompleteInitialCopy`]). A first round that
//! comes to nothing leaves nothing: its file goes with it. A device has no room for two: it says that it
//! is unfinished.

use super::nonzero_blocks::NonzeroBlocks;
use super::received_image::ReceivedImage;
use crate::RemoteError;
use memtwin_pages::{Layout, PageSet, Run};
use memtwin_twin::{TwinError, TwinImage, TwinStore};
use memtwin_wire::{PageRecord, PageRecords, RoundEnd, TwinShape};
use rustix::io::Errno;

/// A first round on its way.
#[derive(Debug)]
pub(super) struct InitialCopy {
    pub(super) session: [u8; 16],
    pub(super) layout: Layout,
    shape: TwinShape,
    kept: TwinImage,
    image: ReceivedImage,
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
    pub(super) kept: TwinImage,
    pub(super) image: ReceivedImage,
    pub(super) written: NonzeroBlocks,
}

impl InitialCopy {
    /// Makes room, beside what is there if that can be. From the beginning the file or device says that
    /// it is unfinished, on the disk too.
    pub(super) fn new(
        store: &TwinStore,
        session: [u8; 16],
        layout: Layout,
    ) -> Result<Self, RemoteError> {
        let bytes = layout.bytes();
        let kept = store.reserve(&layout).map_err(|error| no_room(store, error, bytes))?;
        let shape = TwinShape::of(&layout);
        let covered = shape.counts().map(PageSet::new).collect();
        // A new file is all zero, and a device is what it was.
        let written = match store.is_device() {
            true => NonzeroBlocks::everything(&shape),
            false => NonzeroBlocks::nothing(&shape),
        };
        let image = ReceivedImage::of(&kept)?;
        Ok(Self { session, layout, shape, kept, image, covered, written, blocks: 0 })
    }

    /// Writes the records of a frame.
    pub(super) fn records(&mut self, body: &[u8]) -> Result<(), RemoteError> {
        // All of them are checked before the first is written.
        let shape = &self.shape;
        let records = PageRecords::from_peer(body, shape)?;
        let has_delta = |record: PageRecord<'_>| {
            let (region, first, _) = record.blocks();
            matches!(record, PageRecord::Delta { .. }) && !self.covered[region.0].contains(first)
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
    pub(super) fn end(self, round: RoundEnd) -> Result<CompleteInitialCopy, RemoteError> {
        check_blocks(round, self.blocks)?;
        let covered: u64 = self.covered.iter().map(PageSet::count).sum();
        if covered != self.shape.blocks() {
            return Err(RemoteError::order(format!(
                "a first round of {covered} blocks, expected all {}",
                self.shape.blocks()
            )));
        }
        let Self { session, layout, kept, image, written, .. } = self;
        Ok(CompleteInitialCopy { session, layout, round: round.round, kept, image, written })
    }
}

/// Why there is no room, if that is what the error says.
fn no_room(store: &TwinStore, error: TwinError, needed: u64) -> RemoteError {
    let free = match &error {
        TwinError::NoSpace { free, .. } => *free,
        // Larger than any file can be here, or than there is room.
        TwinError::Io { doing: "make room in", errno, .. }
            if matches!(
                Errno::from_io_error(errno),
                Some(Errno::FBIG | Errno::INVAL | Errno::NOSPC | Errno::DQUOT)
            ) =>
        {
            0
        }
        _ => return error.into(),
    };
    RemoteError::NoRoom { path: store.path(), needed, free, left: store.partial() }
}

/// A round has as many blocks as the sender says.
pub(super) fn check_blocks(round: RoundEnd, got: u64) -> Result<(), RemoteError> {
    if round.blocks == got {
        return Ok(());
    }
    Err(RemoteError::order(format!(
        "round {} came with {got} blocks, expected {}",
        round.round, round.blocks
    )))
}
