//! No twin: for the cost of everything else.

use memtwin_pages::{Layout, RegionId};
use memtwin_replicate::{Sink, SinkError, WriteOutcome};

/// Takes every page and keeps none. Nothing is written, so it counts 0 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl Sink for Discard {
    fn open(&mut self, _layout: &Layout) -> Result<(), SinkError> {
        Ok(())
    }

    fn write(&mut self, _: RegionId, _: u64, _bytes: &[u8]) -> Result<WriteOutcome, SinkError> {
        Ok(WriteOutcome::default())
    }

    fn commit(&mut self, _round: u32) -> Result<(), SinkError> {
        Ok(())
    }
}
