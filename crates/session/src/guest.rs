//! What a session needs of a guest beside its dirty log: to steer what writes in it, if it is our own, and to
//! read its memory for a judge.

use memtwin_mapping::Mapping;
use memtwin_pages::RegionId;
use memtwin_process::ProcessGuest;
use memtwin_replicate::SourceError;
use memtwin_twin::Injector;
use memtwin_verdict::Image;
use memtwin_vmm::KvmGuest;
use std::io;
use std::sync::Arc;

/// A guest of our own making, whose writers we start, pace and end.
pub trait GuestControl {
    /// Lets the writers write.
    fn start(&mut self);
    /// Tells them to write no more, for good.
    fn stop(&mut self);
    /// Lets them write this many pages a second together; `None` lifts the limit.
    fn pace(&mut self, pages_per_second: Option<u64>);
    /// How many pages they have written, by their own count.
    fn written(&self) -> u64;
    /// The changed pages that were suppressed from the log on purpose: only a control's guest has any.
    ///
    /// Errors: the guest's memory can't be read.
    fn injected(&mut self) -> Result<Vec<(RegionId, u64)>, SourceError> {
        Ok(Vec::new())
    }
}

/// How a judge reads a guest's memory: by itself, beside the engine.
pub trait ReadMemory {
    /// A region's memory.
    type Memory: Image;
    /// The memory of a region, where it lies.
    fn memory(&self, region: RegionId) -> Self::Memory;
}

/// The window of a guest of our own, read by copying.
#[derive(Debug)]
pub struct WindowMemory(Arc<Mapping>);

impl Image for WindowMemory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read(offset as usize, into);
        Ok(())
    }
}

impl GuestControl for KvmGuest {
    fn start(&mut self) {
        self.start();
    }
    fn stop(&mut self) {
        self.stop();
    }
    fn pace(&mut self, pages_per_second: Option<u64>) {
        self.pace(pages_per_second);
    }
    fn written(&self) -> u64 {
        self.written()
    }
}

impl ReadMemory for KvmGuest {
    type Memory = WindowMemory;
    fn memory(&self, _region: RegionId) -> WindowMemory {
        WindowMemory(Arc::clone(self.window()))
    }
}

impl GuestControl for ProcessGuest {
    fn start(&mut self) {
        self.start();
    }
    fn stop(&mut self) {
        self.stop();
    }
    fn pace(&mut self, pages_per_second: Option<u64>) {
        self.pace(pages_per_second);
    }
    fn written(&self) -> u64 {
        self.written()
    }
}

impl ReadMemory for ProcessGuest {
    type Memory = WindowMemory;
    fn memory(&self, _region: RegionId) -> WindowMemory {
        WindowMemory(Arc::clone(self.window()))
    }
}

impl<G: GuestControl + memtwin_replicate::Source> GuestControl for Injector<G> {
    fn start(&mut self) {
        self.inner_mut().start();
    }
    fn stop(&mut self) {
        self.inner_mut().stop();
    }
    fn pace(&mut self, pages_per_second: Option<u64>) {
        self.inner_mut().pace(pages_per_second);
    }
    fn written(&self) -> u64 {
        self.inner().written()
    }
    fn injected(&mut self) -> Result<Vec<(RegionId, u64)>, SourceError> {
        Injector::injected(self)
    }
}

impl<G: ReadMemory + memtwin_replicate::Source> ReadMemory for Injector<G> {
    type Memory = G::Memory;
    fn memory(&self, region: RegionId) -> G::Memory {
        self.inner().memory(region)
    }
}
