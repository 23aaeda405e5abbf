//! A source needs the lower crates alone: a recorded guest is replicated by the engine, and read by whoever
//! judges, without `memtwin-session`, of which this crate knows nothing.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod recorded;

use memtwin_pages::{Image, Layout, PageSize, RegionId};
use memtwin_replicate::{
    CancelToken, GuestControl, NoWork, Observer, Provenance, ReadMemory, Replication,
    ReplicationEvent, RoundPlan, Sink, SinkError, Source, StopReason, Until, WriteOutcome,
};
use recorded::RecordedGuest;
use std::time::Duration;

const PAGE: u64 = 512;
const PAGES: u64 = 16;

/// A twin in memory.
#[derive(Default)]
struct Twin(Vec<u8>);

impl Sink for Twin {
    fn open(&mut self, layout: &Layout) -> Result<(), SinkError> {
        self.0 = vec![0xff; layout.region(RegionId(0)).bytes() as usize];
        Ok(())
    }
    fn write(&mut self, _: RegionId, first: u64, bytes: &[u8]) -> Result<WriteOutcome, SinkError> {
        let at = (first * PAGE) as usize;
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(WriteOutcome::default())
    }
    fn commit(&mut self, _round: u32) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Hears nothing.
struct Deaf;

impl Observer for Deaf {
    fn event(&mut self, _: &ReplicationEvent<'_>) {}
}

/// The pages that differ in the end, for a log that left these out.
fn differing<G: Source + GuestControl + ReadMemory + Provenance>(mut guest: G) -> Vec<u64> {
    assert_eq!(guest.provenance().source, "recorded");
    guest.start();
    let plan = RoundPlan {
        interval: Duration::ZERO,
        until: Until::Told,
        rounds: None,
        time: None,
        still_every: None,
    };
    let stop = CancelToken::default();
    let mut twin = Twin::default();
    let mut replication = Replication::start(guest, &mut twin, Deaf).unwrap();
    assert_eq!(replication.run(&plan, &stop, NoWork).unwrap(), StopReason::GuestStopped);
    let mut paused = replication.pause_and_settle(&stop).unwrap();
    let memory = paused.source().memory(RegionId(0));
    assert!(paused.source().written() > 0);
    drop(paused);
    drop(replication);
    let mut page = vec![0; PAGE as usize];
    let differs = |number: &u64| {
        memory.read_at(number * PAGE, &mut page).unwrap();
        !twin.0[(number * PAGE) as usize..].starts_with(&page)
    };
    (0..PAGES).filter(differs).collect()
}

#[test]
fn a_source_from_outside_is_replicated_and_read() {
    let size = PageSize::new(PAGE).unwrap();
    let named = [vec![3, 12], vec![3], vec![7]];
    assert_eq!(differing(RecordedGuest::new(size, PAGES, &named, &[])), [0; 0]);
    // The control: a log that left two pages out.
    assert_eq!(differing(RecordedGuest::new(size, PAGES, &named, &[1, 9])), [1, 9]);
}
