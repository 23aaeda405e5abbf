//! A twin in a regular file, and its life from the first page to the last.
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

use crate::TwinError;
use crate::marker::{Inode, TwinMarker};
use crate::page_store::{PageAccess, PageStore};
use crate::path::{beside, directory, remove_if_there, rename, resolve, sync_directory};
use crate::unfinished_twin::TrailerState;
use memtwin_pages::{Layout, RegionId, Run};
use memtwin_replicate::{Sink, SinkError, Written};
use memtwin_room::{Need, Room};
use memtwin_safe_path::Place;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// A twin in one regular file, regions one after another ([`offset_of`](crate::offset_of)).
///
/// Readable by its owner alone, as what is in a guest's memory may be secret.
#[derive(Debug)]
pub struct FileTwin {
    path: PathBuf,
    partial: PathBuf,
    /// `None` when the twin's life is over.
    marker: Option<TwinMarker>,
    open: Option<Box<Open>>,
    /// What to use instead of what suits the file system.
    force: Option<PageAccess>,
}

#[derive(Debug)]
struct Open {
    store: PageStore,
    inode: Inode,
}

impl FileTwin {
    /// Takes `path` for a twin: looks whether one can be there, and locks it against others.
    ///
    /// What a killed writer has left there is moved to `PATH.partial`, which [`Sink::open`]
    /// replaces. Errors: no regular file, no directory, no permission, in use, or a receiver has left
    /// rounds there.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, TwinError> {
        let path = resolve(path.as_ref())?;
        let (marker, left) = TwinMarker::take(marker_of(&path), &path)?;
        let partial = beside(&path, ".partial");
        let journal = beside(&path, ".journal");
        if journal.symlink_metadata().is_ok() {
            return Err(TwinError::Received { path, journal });
        }
        // If that fails, the marker stays as it is.
        match left {
            Some(left) if left.twin.is_at(&path) => demote(left.twin, &path, &partial)?,
            _ => demote_unfinished(&path, &partial)?,
        }
        let this = Self { path, partial, marker: Some(marker), open: None, force: None };
        // From here on the marker tells of this process, and of no file yet.
        this.marker()?.write(Inode::default())?;
        Ok(this)
    }

    /// The file, symbolic links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A handle of the twin for reading, independent of the twin's own, for a judge.
    pub fn reader(&self) -> Result<File, TwinError> {
        self.opened()?.store.reader()
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
        if !open.store.is_committed() {
            return Err(self.order("complete before pre-copy was committed"));
        }
        if !open.inode.is_at(&self.path) {
            return Err(TwinError::Replaced { path: self.path.clone() });
        }
        let failed = |errno| TwinError::io("sync", &self.path, errno);
        open.store.file().sync_data().map_err(failed)?;
        // The new name is an entry of the directory.
        sync_directory(directory(&self.path))
    }

    fn end(&mut self, complete: bool) -> Result<(), TwinError> {
        let Some(marker) = self.marker.take() else {
            return Ok(());
        };
        let finished = match self.open.take().map(|open| *open) {
            Some(Open { store, .. }) if !store.is_committed() => {
                remove_if_there(&self.partial)?;
                Ok(())
            }
            Some(Open { store, inode }) => {
                let finished = if complete { store.finish() } else { Ok(()) };
                if !complete || finished.is_err() {
                    demote(inode, &self.path, &self.partial)?;
                }
                finished
            }
            None => Ok(()),
        };
        marker.remove()?;
        finished?;
        if complete { sync_directory(directory(&self.path)) } else { Ok(()) }
    }

    fn opened(&self) -> Result<&Open, TwinError> {
        self.open.as_deref().ok_or_else(|| self.order("not opened yet"))
    }

    fn opened_mut(&mut self) -> Result<&mut Open, TwinError> {
        let unopened = self.order("not opened yet");
        self.open.as_deref_mut().ok_or(unopened)
    }

    fn marker(&self) -> Result<&TwinMarker, TwinError> {
        self.marker.as_ref().ok_or_else(|| self.order("over"))
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
        remove_if_there(&self.partial)?;
        check_space(&self.path, layout.bytes())?;
        let failed = |errno| TwinError::io("create", &self.partial, errno);
        let create = Place::find_name(&self.partial).and_then(|place| place.create_new(0o600));
        let file = create.map_err(TwinError::from)?;
        let undo = |error: TwinError| {
            // The first failure is the one to tell.
            let _ = fs::remove_file(&self.partial);
            error
        };
        let inode = Inode::of(&file.metadata().map_err(failed).map_err(undo)?);
        let access = self.force.unwrap_or_else(|| PageAccess::of(&file));
        // From here on it says that it is unfinished, on the disk too.
        let store = PageStore::new(&self.path, file, layout, access).map_err(undo)?;
        let marker = self.marker()?;
        marker.write(inode).and_then(|()| marker.sync()).map_err(undo)?;
        sync_directory(directory(&self.path)).map_err(undo)?;
        self.open = Some(Box::new(Open { store, inode }));
        Ok(())
    }

    fn write(&mut self, region: RegionId, first: u64, bytes: &[u8]) -> Result<Written, SinkError> {
        Ok(self.opened_mut()?.store.write(region, first, bytes)?)
    }

    fn prefetch(&self, region: RegionId, pages: Run) {
        if let Some(open) = &self.open {
            open.store.prefetch(region, pages);
        }
    }

    fn commit(&mut self, _round: u32) -> Result<(), SinkError> {
        if !self.opened()?.store.is_committed() {
            rename("replace", &self.partial, &self.path)?;
        }
        self.opened_mut()?.store.commit();
        Ok(())
    }
}

fn marker_of(path: &Path) -> PathBuf {
    beside(path, ".replicating")
}

/// Moves an incomplete twin from `path`, if it is there, to `partial`.
fn demote(twin: Inode, path: &Path, partial: &Path) -> Result<(), TwinError> {
    if !twin.is_at(path) {
        return Ok(());
    }
    rename("move away the incomplete", path, partial)
}

/// Moves what says itself that it is unfinished, whoever has left it.
fn demote_unfinished(path: &Path, partial: &Path) -> Result<(), TwinError> {
    let failed = |errno| TwinError::io("look at", path, errno);
    let file = match File::open(path) {
        // What may not be read is no twin of ours; it is replaced as a whole.
        Err(_) => return Ok(()),
        Ok(file) => file,
    };
    match TrailerState::of(&file).map_err(failed)? {
        TrailerState::Plain => Ok(()),
        _ => demote(Inode::of(&file.metadata().map_err(failed)?), path, partial),
    }
}

/// Errors if the twin clearly can't fit. The file that it replaces at PATH does not count as free:
/// it stays until pre-copy is over.
pub(crate) fn check_space(path: &Path, needed: u64) -> Result<(), TwinError> {
    let directory = directory(path);
    let about = rustix::fs::statvfs(directory)
        .map_err(|errno| TwinError::io("look at", directory, errno))?;
    // Blocks that are kept for root count as free here: root may be who asks. A file system
    // without a size (ramfs, tmpfs with size=0) says 0 of 0.
    let free = about.f_bfree.saturating_mul(about.f_frsize);
    if about.f_blocks > 0 && free < needed {
        return Err(TwinError::NoSpace { path: path.to_owned(), needed, free });
    }
    if memtwin_room::is_memory(path) {
        let what = format!("the twin {}, which is memory", path.display());
        let way_out = "name a path on a disk";
        Room::of_self().check(&Need { memory: needed, way_out, ..Need::of(&what) })?;
    }
    Ok(())
}
