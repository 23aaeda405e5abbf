//! The life of a twin, the same for one that is copied here and one that is received from another host.
//!
//! | step | a regular file | a block device |
//! |---|---|---|
//! | [`TwinPlace::find`], [`TwinStore::take`] | PATH.replicating is locked | opened for us alone; what it holds is looked at |
//! | [`TwinStore::reopen`] | an unfinished image is found by its number, and gets its name back | the same |
//! | [`TwinStore::clear`] | what can't be gone on with is moved to PATH.partial | its state says what it is |
//! | [`TwinStore::reserve`] | a new file with a trailer, beside PATH | its state says unfinished |
//! | [`TwinStore::go_live`] | renamed to PATH | |
//! | [`TwinImage::checkpoint`] | synced; the trailer names the round | the same, of its state |
//! | [`TwinStore::conclude`], complete | the trailer is cut off, the marker removed | its state says finished |
//! | `conclude`, not complete | moved to PATH.partial, the marker removed | its state stays |
//!
//! What must be durable before what: docs/twins.md.

mod begin;
mod place;

pub use place::{StoreRole, TwinPlace};

use crate::backing::{TwinBacking, TwinFile};
use crate::device::{DeviceOptions, TwinDevice};
use crate::{Inode, TwinError, TwinImage, TwinMarker, TwinPath, TwinTrailer};
use memtwin_pages::Layout;
use std::path::PathBuf;
use std::sync::Arc;

const MARKER: &str = ".replicating";
const JOURNAL: &str = ".journal";
/// A twin that is not complete, and has not the twin's name any more.
const PARTIAL: &str = ".partial";
/// The first round of a received twin.
const FIRST: &str = ".first";

/// A twin's place, taken, from the first look at it to the twin's end.
#[derive(Debug)]
pub struct TwinStore {
    role: StoreRole,
    backing: TwinBacking,
}

impl TwinStore {
    /// Takes a place, so that nobody else writes there. What it holds is not changed yet.
    ///
    /// Errors: it is in use; a receiver's rounds lie there, and this is no receiver; a device holds
    /// something else.
    pub fn take(
        place: TwinPlace,
        role: StoreRole,
        options: &DeviceOptions,
    ) -> Result<Self, TwinError> {
        let backing = match place {
            TwinPlace::File(path) => {
                let twin = path.path("");
                let (marker, left) = TwinMarker::take(path.path(MARKER), &twin)?;
                if role == StoreRole::Local && path.is_there(JOURNAL) {
                    return Err(TwinError::Received { path: twin, journal: path.path(JOURNAL) });
                }
                TwinBacking::File(TwinFile { path: Arc::new(path), marker: Some(marker), left })
            }
            TwinPlace::BlockDevice(place) => {
                let device = TwinDevice::open(&place, options)?;
                match role {
                    StoreRole::Local => device.check_not_received()?,
                    // Before a round is promised that could not be kept.
                    StoreRole::Received => _ = device.journals.make()?,
                }
                TwinBacking::BlockDevice(device)
            }
        };
        Ok(Self { role, backing })
    }

    /// The file or device, symbolic links resolved.
    pub fn path(&self) -> PathBuf {
        self.backing.path()
    }

    /// Whether an image is written in place of what is there, so that there is only one.
    pub fn is_device(&self) -> bool {
        matches!(self.backing, TwinBacking::BlockDevice(_))
    }

    /// Whether it may be written over, whatever is there.
    pub fn is_forced(&self) -> bool {
        matches!(&self.backing, TwinBacking::BlockDevice(device) if device.force)
    }

    /// The journal of the twin that an earlier receiver may have left here.
    pub fn left_journal(&self) -> Result<Option<Arc<TwinPath>>, TwinError> {
        match &self.backing {
            TwinBacking::File(file) => Ok(Some(Arc::clone(&file.path))),
            TwinBacking::BlockDevice(device) => match self.backing.unfinished("")? {
                Some((_, state)) => device.journals.of(&state.trailer().image),
                None => Ok(None),
            },
        }
    }

    /// Where the journal of this image lies.
    pub fn journal(&self, image: &TwinImage) -> Result<Arc<TwinPath>, TwinError> {
        match &self.backing {
            TwinBacking::File(file) => Ok(Arc::clone(&file.path)),
            TwinBacking::BlockDevice(device) => device.journals.make_of(&image.number()),
        }
    }

    /// The image that an earlier receiver has left and that `is_it` knows, wherever it died: under the
    /// name of a first round that was whole, or of a twin that was judged. It has the twin's name then.
    pub fn reopen(
        &self,
        is_it: impl Fn(&TwinTrailer) -> bool,
    ) -> Result<Option<TwinImage>, TwinError> {
        for suffix in ["", FIRST, PARTIAL] {
            let Some((file, state)) = self.backing.unfinished(suffix)? else { continue };
            if !is_it(state.trailer()) {
                continue;
            }
            if let TwinBacking::File(TwinFile { path, .. }) = &self.backing
                && !suffix.is_empty()
            {
                path.rename("replace", suffix, "")?;
                path.sync()?;
            }
            let about =
                file.metadata().map_err(|errno| TwinError::io("look at", &self.path(), errno))?;
            let (name, inode) = (self.path(), Inode::of(&about));
            return Ok(Some(TwinImage { file, name, inode, state, staged: None }));
        }
        Ok(None)
    }

    /// Goes on with an image that was reopened: it is marked as ours, and a first round that came to
    /// nothing goes.
    pub fn resume(&self, image: &TwinImage) -> Result<(), TwinError> {
        if let TwinBacking::File(TwinFile { path, marker, .. }) = &self.backing {
            if let Some(marker) = marker {
                marker.write(image.inode)?;
                marker.sync()?;
            }
            path.remove(FIRST)?;
        }
        self.backing.sync_names()
    }

    /// Errors if a twin of this layout can't be kept here. Nothing is changed.
    pub fn check_layout(&self, layout: &Layout) -> Result<(), TwinError> {
        self.backing.check_layout(layout)
    }

    /// The marker names this image, durably.
    pub fn mark(&self, image: &TwinImage) -> Result<(), TwinError> {
        self.backing.mark(image.inode)
    }

    /// The first round is whole: from now on the image is at PATH, in place of what was there.
    pub fn go_live(&self, image: &mut TwinImage) -> Result<(), TwinError> {
        self.backing.promote(image)?;
        if self.role == StoreRole::Received {
            self.backing.sync_names()?;
            image.name = self.path();
        }
        Ok(())
    }

    /// An earlier twin that was not kept goes.
    pub fn remove_partial(&self) -> Result<(), TwinError> {
        match &self.backing {
            TwinBacking::File(file) => file.path.remove(PARTIAL),
            TwinBacking::BlockDevice(_) => Ok(()),
        }
    }

    /// Where an earlier twin that was not kept lies, if it takes room here.
    pub fn partial(&self) -> Option<PathBuf> {
        match &self.backing {
            TwinBacking::File(file) => file.path.inode(PARTIAL).map(|_| file.path.path(PARTIAL)),
            TwinBacking::BlockDevice(_) => None,
        }
    }

    /// Whether the image is what is at PATH still.
    pub fn holds(&self, image: &TwinImage) -> bool {
        self.backing.holds(image)
    }

    /// Sees to it that the live image is what is at PATH, and on the disk. It is unfinished still.
    pub fn secure(&self, image: &TwinImage) -> Result<(), TwinError> {
        if !self.holds(image) {
            return Err(TwinError::Replaced { path: self.path() });
        }
        image.sync()?;
        // The new name is an entry of the directory.
        self.sync_names()
    }

    /// The names are on the disk.
    pub fn sync_names(&self) -> Result<(), TwinError> {
        self.backing.sync_names()
    }

    /// The image is not to be taken for a twin by its name.
    pub fn demote(&self, image: &TwinImage) -> Result<(), TwinError> {
        self.backing.demote(image.inode, PARTIAL)
    }

    /// Ends the twin's life, once. A complete image, which is on the disk, says so from now on; another
    /// one is moved to PATH.partial, or removed if it never went live.
    ///
    /// Errors: the state of a complete one can't be written (then it is treated as incomplete); or
    /// the clean-up fails, and the marker stays.
    pub fn conclude(&mut self, image: Option<TwinImage>, complete: bool) -> Result<(), TwinError> {
        let finished = match image {
            Some(image) if image.staged.is_some() => {
                image.discard()?;
                Ok(())
            }
            Some(image) => {
                let finished = if complete { self.finish(&image) } else { Ok(()) };
                if !complete || finished.is_err() {
                    self.demote(&image)?;
                }
                finished
            }
            None => Ok(()),
        };
        self.backing.unmark()?;
        finished?;
        self.sync_names()
    }

    fn finish(&self, image: &TwinImage) -> Result<(), TwinError> {
        let failed = |errno| TwinError::io("finish", &image.name, errno);
        image.state.finish(&image.file).map_err(failed)
    }
}
