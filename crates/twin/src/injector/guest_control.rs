//! An injector stands for the guest behind it: whoever steers, reads or asks it reaches that.

use super::Injector;
use memtwin_pages::RegionId;
use memtwin_replicate::{GuestControl, Provenance, ReadMemory, Source, SourceError, SourceOrigin};

impl<G: GuestControl + Source> GuestControl for Injector<G> {
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

impl<G: ReadMemory + Source> ReadMemory for Injector<G> {
    type Memory = G::Memory;
    fn memory(&self, region: RegionId) -> G::Memory {
        self.inner().memory(region)
    }
}

impl<G: Provenance + Source> Provenance for Injector<G> {
    fn provenance(&self) -> SourceOrigin {
        self.inner().provenance()
    }
}
