//! What a session needs of a plain process beside its dirty log: to steer its writers, to read its memory for a judge, and
//! to say where that comes from.

use crate::ProcessGuest;
use memtwin_mapping::Mapping;
use memtwin_pages::RegionId;
use memtwin_replicate::{GuestControl, Provenance, ReadMemory, SourceOrigin};
use std::sync::Arc;

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

/// Its window, read by copying.
impl ReadMemory for ProcessGuest {
    type Memory = Arc<Mapping>;
    fn memory(&self, _region: RegionId) -> Arc<Mapping> {
        Arc::clone(self.window())
    }
}

impl Provenance for ProcessGuest {
    fn provenance(&self) -> SourceOrigin {
        SourceOrigin { source: "process".to_owned(), ..SourceOrigin::default() }
    }
}
