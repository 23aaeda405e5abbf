//! A twin in a file without a name (memfd_create(2)): it leaves nothing behind.

use crate::{SparseMemory, TwinError, UnfinishedTwin, offset_of};
use memtwin_pages::{Layout, RegionId, Run};
use memtwin_replicate::{Sink, SinkError, WriteOutcome};
use memtwin_room::RoomWatch;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;

/// What errors call it.
const NAME: &str = "the twin in memory";

/// A twin in memory, gone when it is dropped. Regions lie as in a [`FileTwin`](crate::FileTwin).
///
/// It takes as much memory as the guest has that is not zero ([`SparseMemory`]), and ends the run
/// when memory runs out rather than be the reason for the end of another process ([`RoomWatch`]).
#[derive(Debug, Default)]
pub struct MemoryTwin {
    opened: Option<OpenedMemory>,
    watch: RoomWatch,
}

#[derive(Debug)]
struct OpenedMemory {
    file: File,
    memory: Arc<SparseMemory>,
    /// Where each region begins in the file, and its page size in bytes.
    regions: Vec<(u64, usize)>,
    committed: bool,
}

impl MemoryTwin {
    /// A twin that has no room yet ([`Sink::open`]).
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, with its eye on this room.
    pub fn watched(watch: RoomWatch) -> Self {
        Self { opened: None, watch }
    }

    /// The twin's memory, for a judge to compare in place; none before [`Sink::open`].
    pub fn memory(&self) -> Option<&Arc<SparseMemory>> {
        self.opened.as_ref().map(|opened| &opened.memory)
    }

    /// A handle of the twin for reading, independent of the twin's own, for a judge.
    pub fn reader(&self) -> Result<File, TwinError> {
        let opened = self.opened.as_ref().ok_or_else(unopened)?;
        // Opened again, not duplicated: that can't write, and shares no file offset.
        let path = format!("/proc/self/fd/{}", opened.file.as_raw_fd());
        File::open(path).map_err(|errno| TwinError::NotReopened { errno })
    }
}

fn unopened() -> TwinError {
    TwinError::Order { path: NAME.into(), what: "not opened yet" }
}

impl OpenedMemory {
    /// Takes the bytes of whole pages. Returns what was written, and how much memory that took.
    fn write(
        &self,
        region: RegionId,
        first: u64,
        bytes: &[u8],
    ) -> Result<(WriteOutcome, u64), TwinError> {
        let (offset, page) = self.regions[region.0];
        let at = (offset + first * page as u64) as usize;
        let put = |at, bytes: &[u8]| {
            let failed = |error| TwinError::Map { path: NAME.into(), error };
            self.memory.write(at, bytes).map_err(failed)
        };
        if !self.committed {
            let written = WriteOutcome { bytes: bytes.len() as u64, ..WriteOutcome::default() };
            return Ok((written, put(at, bytes)?));
        }
        let (mut written, mut grown) = (WriteOutcome::default(), 0);
        for (n, page) in (0..).zip(bytes.chunks_exact(page)) {
            let at = at + n as usize * page.len();
            if self.memory.equals(at, page) {
                written.same.insert(n);
            } else {
                grown += put(at, page)?;
                written.bytes += page.len() as u64;
            }
        }
        Ok((written, grown))
    }
}

impl Sink for MemoryTwin {
    fn open(&mut self, layout: &Layout) -> Result<(), SinkError> {
        let name = Path::new(NAME);
        let failed = |errno| TwinError::io("make", name, errno);
        let file = memfd_create("memtwin-twin", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .map_err(failed)?;
        let file = File::from(file);
        let bytes = layout.bytes();
        // Who finds it by our descriptors is told, too, that it is no image yet.
        UnfinishedTwin::begin(&file, bytes).map_err(|errno| TwinError::io("begin", name, errno))?;
        // Of this length for good: what is mapped can't be taken away.
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        fcntl_add_seals(&file, seals).map_err(failed)?;
        let memory = SparseMemory::new(&file, bytes)
            .map_err(|error| TwinError::Map { path: name.to_owned(), error })?;
        let regions = layout
            .iter()
            .map(|(id, region)| (offset_of(layout, id), region.page_size().as_usize()));
        self.opened = Some(OpenedMemory {
            regions: regions.collect(),
            memory: Arc::new(memory),
            file,
            committed: false,
        });
        Ok(())
    }

    fn write(
        &mut self,
        region: RegionId,
        first: u64,
        bytes: &[u8],
    ) -> Result<WriteOutcome, SinkError> {
        let opened = self.opened.as_ref().ok_or_else(unopened)?;
        let (written, grown) = opened.write(region, first, bytes)?;
        if grown > 0 {
            self.watch.take(grown).map_err(TwinError::from)?;
        }
        Ok(written)
    }

    fn prefetch(&self, region: RegionId, pages: Run) {
        if let Some(opened) = &self.opened {
            let (offset, page) = opened.regions[region.0];
            let at = offset + pages.first * page as u64;
            opened.memory.prefetch(at as usize, pages.count as usize * page);
        }
    }

    fn commit(&mut self, _round: u32) -> Result<(), SinkError> {
        self.opened.as_mut().ok_or_else(unopened)?.committed = true;
        Ok(())
    }
}
