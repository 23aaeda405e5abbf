//! Images as the judge reads them: a part of a twin, compared where it lies.

use memtwin_pages::{Layout, Region, RegionId};
use memtwin_twin::{SparseMemory, offset_of};
use memtwin_verdict::Image;
use std::fs::File;
use std::io;
use std::sync::Arc;

/// A region's part of a twin in memory. The twin must not change while it is read.
#[derive(Debug)]
pub(crate) struct TwinPart {
    twin: Arc<SparseMemory>,
    offset: usize,
    len: u64,
}

impl TwinPart {
    /// Each region's part, in the order of the layout.
    pub(crate) fn all(twin: &Arc<SparseMemory>, layout: &Layout) -> Vec<Self> {
        let part = |(id, region): (RegionId, &Region)| Self {
            twin: Arc::clone(twin),
            offset: offset_of(layout, id) as usize,
            len: region.bytes(),
        };
        layout.iter().map(part).collect()
    }
}

impl Image for TwinPart {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.twin.read(self.offset + offset as usize, into);
        Ok(())
    }

    fn is_at(&self, offset: u64, bytes: &[u8], _scratch: &mut Vec<u8>) -> io::Result<bool> {
        Ok(self.twin.equals(self.offset + offset as usize, bytes))
    }
}

/// A part of a file that is an image: a region's part of a twin's.
#[derive(Debug)]
pub struct FilePart {
    /// The file.
    pub file: File,
    /// Where the part begins, in bytes.
    pub offset: u64,
    /// How many bytes it has.
    pub len: u64,
}

impl Image for FilePart {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        Image::read_at(&self.file, self.offset + offset, into)
    }
}
