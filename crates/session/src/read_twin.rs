//! Twins as a judge reads them: each with handles of its own, a region at a time, where it lies.

use memtwin_pages::{Image, Layout, Region, RegionId};
use memtwin_remote::{RemoteError, RemoteTwin};
use memtwin_replicate::Sink;
use memtwin_twin::{
    DirTwin, Discard, FileTwin, MemoryTwin, SparseMemory, TwinError, WithheldTwin, offset_of,
};
use std::fs::File;
use std::io;
use std::sync::Arc;

/// A twin that a judge can read by itself.
pub trait ReadTwin: Sink {
    /// A region, for the judge to read with a handle of its own; `None` if nothing was kept. `memory`
    /// is what it should be equal to: a twin far away then need not be fetched to be read.
    ///
    /// Errors: it can't be opened for reading.
    fn image<'t>(
        &'t self,
        layout: &Layout,
        region: RegionId,
        memory: &'t dyn Image,
    ) -> Result<Option<Box<dyn Image + 't>>, TwinReadError>;
}

/// Why a twin can't be read.
#[derive(Debug, thiserror::Error)]
pub enum TwinReadError {
    /// The one here can't be opened.
    #[error(transparent)]
    Here(#[from] TwinError),
    /// The one on another host can't be asked.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

/// A region of a twin that is one file here.
fn part<'t>(
    file: File,
    layout: &Layout,
    region: RegionId,
) -> Result<Option<Box<dyn Image + 't>>, TwinReadError> {
    let (offset, len) = (offset_of(layout, region), layout.region(region).bytes());
    Ok(Some(Box::new(FilePart { file, offset, len })))
}

impl ReadTwin for MemoryTwin {
    fn image<'t>(
        &'t self,
        layout: &Layout,
        region: RegionId,
        _memory: &'t dyn Image,
    ) -> Result<Option<Box<dyn Image + 't>>, TwinReadError> {
        part(self.reader()?, layout, region)
    }
}

impl ReadTwin for FileTwin {
    fn image<'t>(
        &'t self,
        layout: &Layout,
        region: RegionId,
        _memory: &'t dyn Image,
    ) -> Result<Option<Box<dyn Image + 't>>, TwinReadError> {
        part(self.reader()?, layout, region)
    }
}

impl ReadTwin for DirTwin {
    fn image<'t>(
        &'t self,
        layout: &Layout,
        region: RegionId,
        _memory: &'t dyn Image,
    ) -> Result<Option<Box<dyn Image + 't>>, TwinReadError> {
        let (file, len) = (self.reader(region)?, layout.region(region).bytes());
        Ok(Some(Box::new(FilePart { file, offset: 0, len })))
    }
}

impl ReadTwin for Discard {
    fn image<'t>(
        &'t self,
        _: &Layout,
        _: RegionId,
        _: &'t dyn Image,
    ) -> Result<Option<Box<dyn Image + 't>>, TwinReadError> {
        Ok(None)
    }
}

impl ReadTwin for RemoteTwin {
    fn image<'t>(
        &'t self,
        _layout: &Layout,
        region: RegionId,
        memory: &'t dyn Image,
    ) -> Result<Option<Box<dyn Image + 't>>, TwinReadError> {
        let guess = Box::new(move |offset: u64, into: &mut [u8]| memory.read_at(offset, into));
        Ok(Some(Box::new(self.region(region, guess)?)))
    }
}

impl<K: ReadTwin> ReadTwin for &mut K {
    fn image<'t>(
        &'t self,
        layout: &Layout,
        region: RegionId,
        memory: &'t dyn Image,
    ) -> Result<Option<Box<dyn Image + 't>>, TwinReadError> {
        (**self).image(layout, region, memory)
    }
}

/// A region's part of a twin in memory. The twin must not change while it is read.
#[derive(Debug)]
pub(crate) struct TwinPart {
    twin: Arc<SparseMemory>,
    offset: usize,
    len: u64,
}

impl TwinPart {
    /// Each region's part of a control's twin, in the order of the layout; none before it was opened.
    pub(crate) fn all(twin: &WithheldTwin, layout: &Layout) -> Vec<Self> {
        let Some(twin) = twin.memory() else { return Vec::new() };
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
