//! Whether this host's dirty ring holds: a guest that fills it fast, before anything is judged.
//!
//! KVM promises to send a vCPU out while its ring still has a reserve. A KVM that emulates many
//! writes at one go breaks the promise, and then an identical twin is luck: some stressors are
//! slow enough for such a ring. A pass has to be earned on a ring that holds.

use crate::{Backing, Config, GuestStartError, KvmGuest};
use memtwin_kvm::Mode;
use memtwin_replicate::{Collector, Source, SourceError};
use memtwin_stressor::Stressor;
use std::thread;
use std::time::{Duration, Instant};

/// How long the guest writes as fast as it can.
const TIME: Duration = Duration::from_millis(300);

/// Large enough to fill a ring many times over on a host where a page is logged only once.
const WINDOW_BYTES: u64 = 16 << 20;

struct NullSink;

impl Collector for NullSink {
    fn pages(&mut self, _: memtwin_pages::RegionId, _: &[u64]) {}
    fn page(&mut self, _: memtwin_pages::RegionId, _: u64) {}
}

/// Fills the rings of one vCPU for a moment. `Ok(Err(reason))` if they overflow.
///
/// Errors: the guest can't be made.
pub fn probe_ring(ring_entries: u32) -> Result<Result<(), String>, GuestStartError> {
    let mut guest = KvmGuest::new(Config {
        mode: Mode::Ring,
        backing: Backing::Shm,
        file: None,
        bytes: WINDOW_BYTES,
        vcpus: 1,
        stressor: Stressor::Zero,
        seed: 1,
        translation: None,
        ring_entries,
    })?;
    Ok(fill(&mut guest).map_err(|error| error.to_string()))
}

fn fill(guest: &mut KvmGuest) -> Result<(), SourceError> {
    guest.start_logging()?;
    guest.start();
    let began = Instant::now();
    while began.elapsed() < TIME {
        // Not collected meanwhile: the rings must fill up, and the vCPU's thread empty them.
        thread::sleep(Duration::from_millis(5));
        guest.guest()?;
    }
    guest.pause()?;
    guest.collect(&mut NullSink)
}
