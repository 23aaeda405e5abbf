//! The first round of a session: it goes straight into PATH.partial, every block of it.

use super::image::Image;
use super::place::Place;
use crate::RemoteError;
use memtwin_pages::{Layout, PageSet};
use memtwin_twin::{Inode, Unfinished};
use memtwin_wire::{Record, Records, Round, Shape};
use rustix::fs::{FallocateFlags, fallocate};

pub(super) const PARTIAL: &str = ".partial";

/// A first round on its way.
#[derive(Debug)]
pub(super) struct First {
    pub(super) session: [u8; 16],
    pub(super) layout: Layout,
    pub(super) shape: Shape,
    pub(super) image: Image,
    pub(super) inode: Inode,
    pub(super) unfinished: Unfinished,
    covered: Vec<PageSet>,
    blocks: u64,
}

impl First {
    /// Makes room. From the beginning the file says that it is unfinished, on the disk too.
    pub(super) fn new(
        place: &Place,
        session: [u8; 16],
        layout: Layout,
    ) -> Result<Self, RemoteError> {
        let shape = Shape::of(&layout);
        // That of an attempt before is not in the way.
        place.remove(PARTIAL)?;
        place.check_room(shape.bytes())?;
        let file = place.create(PARTIAL)?;
        let path = place.path(PARTIAL);
        let failed = |errno| RemoteError::Disk { doing: "make room in", path: path.clone(), errno };
        let undo = |error| {
            // Nothing is left of the attempt.
            let _ = place.remove(PARTIAL);
            error
        };
        let unfinished = Unfinished::begin(&file, shape.bytes()).map_err(failed).map_err(undo)?;
        // Where the file system can, the room is taken now: it is there when a round needs it.
        match fallocate(&file, FallocateFlags::empty(), 0, shape.bytes()) {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
            Err(rustix::io::Errno::NOSPC) => {
                let needed = shape.bytes();
                return Err(undo(RemoteError::NoRoom { path: place.path(""), needed, free: 0 }));
            }
            Err(errno) => return Err(undo(failed(errno.into()))),
        }
        let inode = Inode::of(&file.metadata().map_err(failed)?);
        let covered = shape.counts().map(PageSet::new).collect();
        let image = Image::new(file, path.clone(), shape.bytes());
        Ok(Self { session, layout, shape, image, inode, unfinished, covered, blocks: 0 })
    }

    /// Writes the records of a frame.
    pub(super) fn records(&mut self, body: &[u8]) -> Result<(), RemoteError> {
        // All of them are checked before the first is written.
        let shape = &self.shape;
        let records = Records::check(body, shape)?;
        let has_delta = |record: Record<'_>| {
            let (region, first, _) = record.blocks();
            matches!(record, Record::Delta { .. }) && !self.covered[region.0].contains(first)
        };
        if records.clone().any(has_delta) {
            return Err(RemoteError::order("a delta of a block that was never sent"));
        }
        for record in records {
            let (region, first, count) = record.blocks();
            let covered = &mut self.covered[region.0];
            // The file is new: a zero block is there unless something was written to it before.
            let mut again = false;
            for block in first..first + count {
                again |= !covered.insert(block);
            }
            if again || !matches!(record, Record::Zero { .. }) {
                self.image.apply(&record, shape)?;
            }
            self.blocks += count;
        }
        Ok(())
    }

    /// Whether every block is there, and as many as the sender says.
    pub(super) fn end(&self, round: Round) -> Result<(), RemoteError> {
        check_blocks(round, self.blocks)?;
        let covered: u64 = self.covered.iter().map(PageSet::count).sum();
        if covered != self.shape.blocks() {
            return Err(RemoteError::order(format!(
                "a first round of {covered} blocks, expected all {}",
                self.shape.blocks()
            )));
        }
        Ok(())
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
