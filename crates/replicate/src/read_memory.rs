//! A guest's memory, for a judge.

use memtwin_pages::{Image, RegionId};

/// How a judge reads a guest's memory: by itself, beside the engine.
pub trait ReadMemory {
    /// A region's memory.
    type Memory: Image;
    /// The memory of a region, where it lies.
    fn memory(&self, region: RegionId) -> Self::Memory;
}
