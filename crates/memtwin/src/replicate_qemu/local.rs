//! Twins in files here, as the judge reads them.

use crate::image::FilePart;
use memtwin_pages::Layout;
use memtwin_replicate::Sink;
use memtwin_twin::{DirTwin, FileTwin, TwinError};

/// A twin in files here, which a judge may read while the guest runs again.
pub(super) trait Local: Sink {
    /// Each region's part, in the order of the layout.
    fn parts(&self, layout: &Layout) -> Result<Vec<FilePart>, TwinError>;
}

impl Local for DirTwin {
    fn parts(&self, layout: &Layout) -> Result<Vec<FilePart>, TwinError> {
        let part = |(id, region): (_, &memtwin_pages::Region)| {
            Ok(FilePart { file: self.reader(id)?, offset: 0, len: region.bytes() })
        };
        layout.iter().map(part).collect()
    }
}

impl Local for FileTwin {
    fn parts(&self, layout: &Layout) -> Result<Vec<FilePart>, TwinError> {
        let part = |(id, region): (_, &memtwin_pages::Region)| {
            let offset = memtwin_twin::offset_of(layout, id);
            Ok(FilePart { file: self.reader()?, offset, len: region.bytes() })
        };
        layout.iter().map(part).collect()
    }
}
