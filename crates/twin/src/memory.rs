//! A twin in a file without a name (memfd_create(2)): it leaves nothing behind.

use crate::TwinError;
use crate::store::{Access, Store};
use memtwin_mapping::Mapping;
use memtwin_pages::{Layout, RegionId, Run};
use memtwin_replicate::{Sink, SinkError, Written};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// What errors call it.
const NAME: &str = "the twin in memory";

/// A twin in memory, gone when it is dropped. Regions lie as in a [`FileTwin`](crate::FileTwin).
#[derive(Debug, Default)]
pub struct MemoryTwin {
    store: Option<Store>,
    populated: bool,
}

impl MemoryTwin {
    /// A twin that has no room yet ([`Sink::open`]).
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`MemoryTwin::new`], but [`Sink::open`] allots all of its memory: no page that comes
    /// later waits for any. For a guest that is held back while the twin waits.
    pub fn populated() -> Self {
        Self { store: None, populated: true }
    }

    /// The twin's memory, for a judge to compare in place; none before [`Sink::open`], or if it is
    /// not [populated](MemoryTwin::populated).
    pub fn mapping(&self) -> Option<&Arc<Mapping>> {
        self.store.as_ref().filter(|_| self.populated)?.mapping()
    }

    /// A handle of the twin for reading, independent of the twin's own, for a judge.
    pub fn reader(&self) -> Result<File, TwinError> {
        self.store.as_ref().ok_or_else(unopened)?.reader()
    }
}

fn unopened() -> TwinError {
    TwinError::Order { path: NAME.into(), what: "not opened yet" }
}

impl Sink for MemoryTwin {
    fn open(&mut self, layout: &Layout) -> Result<(), SinkError> {
        let name = Path::new(NAME);
        let access = if self.populated { Access::Populated } else { Access::Mapped };
        let failed = |errno| TwinError::io("make", name, errno);
        let file = memfd_create("memtwin-twin", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .map_err(failed)?;
        let store = Store::new(name, File::from(file), layout, access)?;
        // Of this length for good: what is mapped can't be taken away.
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        fcntl_add_seals(store.file(), seals).map_err(failed)?;
        self.store = Some(store);
        Ok(())
    }

    fn write(&mut self, region: RegionId, first: u64, bytes: &[u8]) -> Result<Written, SinkError> {
        Ok(self.store.as_mut().ok_or_else(unopened)?.write(region, first, bytes)?)
    }

    fn prefetch(&self, region: RegionId, pages: Run) {
        if let Some(store) = &self.store {
            store.prefetch(region, pages);
        }
    }

    fn commit(&mut self, _round: u32) -> Result<(), SinkError> {
        self.store.as_mut().ok_or_else(unopened)?.commit();
        Ok(())
    }
}
