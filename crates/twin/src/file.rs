//! A twin in a regular file or on a block device, and its life from the first page to the last.
//!
//! | moment | PATH | PATH.partial | PATH.replicating |
//! |---|---|---|---|
//! | [`FileTwin::create`] | as it was | as it was | taken |
//! | [`Sink::open`], pre-copy | as it was | written, with a trailer | names it |
//! | first [`Sink::commit`] and later | the twin, updated in place, with a trailer | | names it |
//! | [`FileTwin::finish`], complete | the twin, on the disk | | gone |
//! | `finish`, not complete; or dropped | as it was (in pre-copy), else gone | the twin with its trailer, if it was live | gone |
//! | killed, or the power fails | as it is | as it is | stays, or is what the disk has of it |
//!
//! The trailer ([`UnfinishedTwin`](crate::UnfinishedTwin)) is on the disk before the first page, and goes
//! when all of the twin is: so rounds need not be synced to the disk one by one. The marker keeps a
//! second writer out and says who the first one is.

use crate::page_store::{PageAccess, PageStore};
use crate::{DeviceOptions, StoreRole, TwinError, TwinImage, TwinPlace, TwinStore};
use memtwin_pages::{Layout, RegionId, Run};
use memtwin_replicate::{Sink, SinkError, WriteOutcome};
use std::fs::File;
use std::path::{Path, PathBuf};

/// A twin in one regular file, regions one after another ([`offset_of`](crate::offset_of)); or one region
/// on a block device, from its first byte on.
///
/// A file is readable by its owner alone, as what is in a guest's memory may be secret.
#[derive(Debug)]
pub struct FileTwin {
    path: PathBuf,
    /// `None` when the twin's life is over.
    store: Option<TwinStore>,
    open: Option<Box<OpenTwin>>,
    /// What to use instead of what suits the file system.
    force: Option<PageAccess>,
}

#[derive(Debug)]
struct OpenTwin {
    pages: PageStore,
    image: TwinImage,
}

impl FileTwin {
    /// Takes `path` for a twin: looks whether one can be there, and locks it against others.
    ///
    /// What a killed writer has left there is moved to `PATH.partial`, which [`Sink::open`]
    /// replaces. Errors: no regular file or block device, no directory, no permission, in use, or a
    /// receiver has left rounds there; a device holds something else.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, TwinError> {
        Self::create_with(path, &DeviceOptions::default())
    }

    /// The same, with a block device treated so.
    pub fn create_with(path: impl AsRef<Path>, options: &DeviceOptions) -> Result<Self, TwinError> {
        let place = TwinPlace::find(path.as_ref(), StoreRole::Local)?;
        let store = TwinStore::take(place, StoreRole::Local, options)?;
        store.clear()?;
        Ok(Self { path: store.path(), store: Some(store), open: None, force: None })
    }

    /// The file or device, symbolic links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A handle of the twin for reading, independent of the twin's own, for a judge.
    pub fn reader(&self) -> Result<File, TwinError> {
        self.opened()?.pages.reader()
    }

    /// Ends the twin's life. A complete one is synced and stays at PATH, unmarked; another one is
    /// moved to `PATH.partial`, or removed if it never went live. Dropping a twin is the latter.
    ///
    /// Errors: the twin was called complete and can't be, as the disk fails or the file is gone
    /// (then it is treated as incomplete); or the clean-up fails, and the marker stays.
    pub fn finish(mut self, complete: bool) -> Result<(), TwinError> {
        let good = if complete { self.sync() } else { Ok(()) };
        let ended = self.end(complete && good.is_ok());
        good.and(ended)
    }

    /// Sees to it that the live twin is what is at PATH, and on the disk. It is unfinished still.
    pub(crate) fn sync(&self) -> Result<(), TwinError> {
        let open = self.opened()?;
        if !open.pages.is_committed() {
            return Err(self.order("complete before pre-copy was committed"));
        }
        self.store()?.secure(&open.image)?;
        open.pages.check_length()
    }

    fn end(&mut self, complete: bool) -> Result<(), TwinError> {
        let Some(mut store) = self.store.take() else {
            return Ok(());
        };
        store.conclude(self.open.take().map(|open| open.image), complete)
    }

    fn opened(&self) -> Result<&OpenTwin, TwinError> {
        self.open.as_deref().ok_or_else(|| self.order("not opened yet"))
    }

    fn opened_mut(&mut self) -> Result<&mut OpenTwin, TwinError> {
        let unopened = self.order("not opened yet");
        self.open.as_deref_mut().ok_or(unopened)
    }

    fn store(&self) -> Result<&TwinStore, TwinError> {
        self.store.as_ref().ok_or_else(|| self.order("over"))
    }

    fn order(&self, what: &'static str) -> TwinError {
        TwinError::Order { path: self.path.clone(), what }
    }

    #[cfg(test)]
    pub(crate) fn force(mut self, access: PageAccess) -> Self {
        self.force = Some(access);
        self
    }
}

impl Drop for FileTwin {
    fn drop(&mut self) {
        // If it fails the marker stays, and tells.
        let _ = self.end(false);
    }
}

impl Sink for FileTwin {
    fn open(&mut self, layout: &Layout) -> Result<(), SinkError> {
        if self.open.is_some() {
            return Err(self.order("opened twice").into());
        }
        let image = self.store()?.reserve(layout)?;
        let file = image.handle()?;
        let access = self.force.unwrap_or_else(|| PageAccess::of(&file));
        let pages = PageStore::new(&self.path, file, layout, access);
        self.open = Some(Box::new(OpenTwin { pages, image }));
        Ok(())
    }

    fn write(
        &mut self,
        region: RegionId,
        first: u64,
        bytes: &[u8],
    ) -> Result<WriteOutcome, SinkError> {
        Ok(self.opened_mut()?.pages.write(region, first, bytes)?)
    }

    fn prefetch(&self, region: RegionId, pages: Run) {
        if let Some(open) = &self.open {
            open.pages.prefetch(region, pages);
        }
    }

    fn commit(&mut self, _round: u32) -> Result<(), SinkError> {
        let unopened = self.order("not opened yet");
        let over = self.order("over");
        let open = self.open.as_deref_mut().ok_or(unopened)?;
        if !open.pages.is_committed() {
            self.store.as_ref().ok_or(over)?.go_live(&mut open.image)?;
        }
        open.pages.commit();
        Ok(())
    }
}
