//! A guest of our own making: a source whose stressors we start, pace and end.

use memtwin_mapping::Mapping;
use memtwin_pages::{Layout, RegionId};
use memtwin_process::ProcessGuest;
use memtwin_replicate::{Source, SourceError};
use memtwin_twin::Injector;
use memtwin_vmm::KvmGuest;
use std::sync::Arc;

/// What the embedded guest and the process source have in common.
pub(crate) trait Guest: Source {
    /// Lets the stressors write.
    fn start(&mut self);
    /// Tells them to write no more, for good.
    fn stop(&mut self);
    /// Lets them write so many pages a second together; `None` lifts the limit.
    fn pace(&mut self, pages_per_second: Option<u64>);
    /// How many pages they have written, by their own count.
    fn written(&self) -> u64;
    /// The window's memory, for a judge.
    fn window(&self) -> Arc<Mapping>;
    /// What was kept back from the log on purpose: only a control's guest has any.
    fn injected(&mut self) -> Result<Vec<(RegionId, u64)>, SourceError> {
        Ok(Vec::new())
    }
}

impl Guest for KvmGuest {
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
    fn window(&self) -> Arc<Mapping> {
        Arc::clone(self.window())
    }
}

impl Guest for ProcessGuest {
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
    fn window(&self) -> Arc<Mapping> {
        Arc::clone(self.window())
    }
}

impl<G: Guest> Guest for Injector<G> {
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
    fn window(&self) -> Arc<Mapping> {
        self.inner().window()
    }
    fn injected(&mut self) -> Result<Vec<(RegionId, u64)>, SourceError> {
        Injector::injected(self)
    }
}

/// The regions' names, for what is said of a guest that could not be made.
pub(crate) fn no_layout() -> Layout {
    Layout::default()
}
