//! A guest that is waited for until it has written, however busy the machine; and one that misbehaves on
//! purpose, and runs while it is compared.

use memtwin_pages::{Layout, RegionId};
use memtwin_replicate::{
    Collector, GuestControl, GuestState, Provenance, ReadMemory, Source, SourceError, SourceOrigin,
};
use memtwin_wait::wait_until;
use std::time::Duration;

/// How long a guest may take to write a page.
const LIMIT: Duration = Duration::from_secs(60);

/// A guest of which every round has something to collect.
pub(crate) struct RiggedGuest<G> {
    guest: G,
    /// Whether it is waited for.
    is_awaited: bool,
    /// Whether it may write at this moment.
    writes: bool,
    /// How many pages it had written at the last collection.
    seen: u64,
    /// Whether it says that it ran whenever it is asked.
    pause_fails: bool,
}

impl<G> RiggedGuest<G> {
    /// One that behaves, and is waited for in each round.
    pub(crate) fn new(guest: G) -> Self {
        Self { guest, is_awaited: true, writes: false, seen: 0, pause_fails: false }
    }

    /// One whose pause does not hold.
    pub(crate) fn that_runs(guest: G) -> Self {
        Self { is_awaited: false, pause_fails: true, ..Self::new(guest) }
    }
}

impl<G: GuestControl> RiggedGuest<G> {
    fn await_write(&mut self) {
        if self.is_awaited && self.writes {
            let wrote = || self.guest.written() != self.seen;
            assert!(wait_until(LIMIT, Duration::from_millis(1), wrote), "no page was written");
        }
        self.seen = self.guest.written();
    }
}

impl<G: Source + GuestControl> Source for RiggedGuest<G> {
    fn layout(&self) -> &Layout {
        self.guest.layout()
    }
    fn start_logging(&mut self) -> Result<(), SourceError> {
        self.guest.start_logging()
    }
    fn collect(&mut self, into: &mut dyn Collector) -> Result<(), SourceError> {
        self.await_write();
        self.guest.collect(into)
    }
    fn read(&mut self, region: RegionId, offset: u64, into: &mut [u8]) -> Result<(), SourceError> {
        self.guest.read(region, offset, into)
    }
    fn pause(&mut self) -> Result<(), SourceError> {
        self.writes = false;
        self.guest.pause()
    }
    fn confirm_paused(&mut self) -> Result<(), SourceError> {
        match self.pause_fails {
            true => Err(SourceError::Guest("it ran while it was compared".to_owned())),
            false => self.guest.confirm_paused(),
        }
    }
    fn resume(&mut self) -> Result<(), SourceError> {
        self.writes = self.guest()? == GuestState::Running;
        self.guest.resume()
    }
    fn stop_logging(&mut self) -> Result<(), SourceError> {
        self.guest.stop_logging()
    }
    fn guest(&mut self) -> Result<GuestState, SourceError> {
        self.guest.guest()
    }
}

impl<G: GuestControl> GuestControl for RiggedGuest<G> {
    fn start(&mut self) {
        self.guest.start();
        self.writes = true;
    }
    fn stop(&mut self) {
        self.writes = false;
        self.guest.stop();
    }
    fn pace(&mut self, pages_per_second: Option<u64>) {
        self.guest.pace(pages_per_second);
    }
    fn written(&self) -> u64 {
        self.guest.written()
    }
}

impl<G: ReadMemory> ReadMemory for RiggedGuest<G> {
    type Memory = G::Memory;
    fn memory(&self, region: RegionId) -> G::Memory {
        self.guest.memory(region)
    }
}

impl<G: Provenance> Provenance for RiggedGuest<G> {
    fn provenance(&self) -> SourceOrigin {
        self.guest.provenance()
    }
}
