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

use crate::backing::{Backing, TwinFile};
use crate::device::{self, Device, DeviceOptions};
use crate::unfinished_twin::TrailerState;
use crate::{Inode, TwinError, TwinImage, TwinMarker, TwinPath, TwinTrailer, UnfinishedTwin, room};
use memtwin_pages::Layout;
use memtwin_safe_path::Place;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MARKER: &str = ".replicating";
const JOURNAL: &str = ".journal";
/// A twin that is not complete, and has not the twin's name any more.
const PARTIAL: &str = ".partial";
/// The first round of a received twin.
const FIRST: &str = ".first";

/// Who writes the twin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreRole {
    /// This process reads the guest. If it dies, the twin is worth nothing.
    Local,
    /// A sender on another host, to whom rounds are promised: they outlast this process.
    Received,
}

impl StoreRole {
    /// What a new image is called until it goes live.
    fn staged(self) -> &'static str {
        match self {
            Self::Local => PARTIAL,
            Self::Received => FIRST,
        }
    }
}

/// What a path means, before anything there is touched.
#[derive(Debug)]
pub enum TwinPlace {
    /// A regular file, or a free name.
    File(TwinPath),
    /// A block device.
    BlockDevice(Place),
}

impl TwinPlace {
    /// What `path` means. Links to a block device are followed where nobody else can have put them;
    /// to a file only for a local twin.
    ///
    /// Errors: it is neither, or may be another user's.
    pub fn find(path: &Path, role: StoreRole) -> Result<Self, TwinError> {
        if let Some(device) = device::find(path)? {
            return Ok(Self::BlockDevice(device));
        }
        match role {
            StoreRole::Local => TwinPath::resolve(path).map(Self::File),
            StoreRole::Received => TwinPath::exact(path).map(Self::File),
        }
    }
}

/// A twin's place, taken, from the first look at it to the twin's end.
#[derive(Debug)]
pub struct TwinStore {
    role: StoreRole,
    backing: Backing,
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
                Backing::File(TwinFile { path: Arc::new(path), marker: Some(marker), left })
            }
            TwinPlace::BlockDevice(place) => {
                let device = Device::open(&place, options)?;
                match role {
                    StoreRole::Local => device.check_not_received()?,
                    // Before a round is promised that could not be kept.
                    StoreRole::Received => _ = device.journals.make()?,
                }
                Backing::BlockDevice(device)
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
        matches!(self.backing, Backing::BlockDevice(_))
    }

    /// Whether it may be written over, whatever is there.
    pub fn is_forced(&self) -> bool {
        matches!(&self.backing, Backing::BlockDevice(device) if device.force)
    }

    /// The journal of the twin that an earlier receiver may have left here.
    pub fn left_journal(&self) -> Result<Option<Arc<TwinPath>>, TwinError> {
        match &self.backing {
            Backing::File(file) => Ok(Some(Arc::clone(&file.path))),
            Backing::BlockDevice(device) => match self.backing.unfinished("")? {
                Some((_, state)) => device.journals.of(&state.trailer().image),
                None => Ok(None),
            },
        }
    }

    /// Where the journal of this image lies.
    pub fn journal(&self, image: &TwinImage) -> Result<Arc<TwinPath>, TwinError> {
        match &self.backing {
            Backing::File(file) => Ok(Arc::clone(&file.path)),
            Backing::BlockDevice(device) => device.journals.make_of(&image.number()),
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
            if let Backing::File(TwinFile { path, .. }) = &self.backing
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
        if let Backing::File(TwinFile { path, marker, .. }) = &self.backing {
            if let Some(marker) = marker {
                marker.write(image.inode)?;
                marker.sync()?;
            }
            path.remove(FIRST)?;
        }
        self.backing.sync_names()
    }

    /// Nothing that is here is gone on with: what a killed writer has left is moved to PATH.partial.
    pub fn clear(&self) -> Result<(), TwinError> {
        let Backing::File(TwinFile { path, marker, left }) = &self.backing else { return Ok(()) };
        // If it fails, the marker stays as it is.
        let marked = left.as_ref().map(|left| left.twin);
        if let Some(there) = path.inode("")
            && (marked == Some(there) || self.is_left(path)?)
        {
            self.backing.demote(there, PARTIAL)?;
        }
        if let Some(marker) = marker {
            // From here on it tells of this process, and of no file yet.
            marker.write(Inode::default())?;
        }
        if self.role == StoreRole::Received {
            path.remove(FIRST)?;
            path.sync()?;
        }
        Ok(())
    }

    /// Whether the file at PATH says itself that it is unfinished, whoever has left it.
    fn is_left(&self, path: &TwinPath) -> Result<bool, TwinError> {
        // What may not be read is no twin of ours; it is replaced as a whole.
        let Ok(file) = path.look("") else { return Ok(false) };
        let state = TrailerState::of(&file);
        let state = state.map_err(|errno| TwinError::io("look at", &path.path(""), errno))?;
        Ok(state != TrailerState::Plain)
    }

    /// Errors if a twin of this layout can't be kept here. Nothing is changed.
    pub fn check_layout(&self, layout: &Layout) -> Result<(), TwinError> {
        self.backing.check_layout(layout)
    }

    /// Makes room for a new image, which says from its beginning, on the disk too, that it is
    /// unfinished. What is at PATH stays as it is; what is on a device is lost.
    ///
    /// Errors: there is no room, or the layout is not for this place.
    pub fn reserve(&self, layout: &Layout) -> Result<TwinImage, TwinError> {
        self.check_layout(layout)?;
        let (bytes, suffix) = (layout.bytes(), self.role.staged());
        if let Backing::File(TwinFile { path, .. }) = &self.backing {
            path.remove(suffix)?;
            match self.role {
                StoreRole::Local => room::check_local(&path.path(""), bytes)?,
                StoreRole::Received => room::check_received(path, bytes)?,
            }
        }
        let outdated = if self.is_device() { self.left_journal()? } else { None };
        let (file, staged) = self.backing.create(suffix)?;
        let name = match (&staged, self.role) {
            (Some(staged), StoreRole::Received) => staged.path.path(suffix),
            _ => self.path(),
        };
        let begun = UnfinishedTwin::begin(&file, bytes);
        let doing = match self.role {
            StoreRole::Local => "begin",
            StoreRole::Received => "make room in",
        };
        let state = begun.map_err(|errno| TwinError::io(doing, &name, errno))?;
        if let Some(journal) = outdated {
            journal.remove(JOURNAL)?;
            journal.sync()?;
        }
        let about = file.metadata().map_err(|errno| TwinError::io("create", &name, errno))?;
        let image = TwinImage { file, name, inode: Inode::of(&about), state, staged };
        match self.role {
            // At PATH is no twin in the making that the marker would have to tell of.
            StoreRole::Local => self.mark(&image)?,
            StoreRole::Received => self.backing.allocate(&image.file, bytes, &image.name)?,
        }
        Ok(image)
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
            Backing::File(file) => file.path.remove(PARTIAL),
            Backing::BlockDevice(_) => Ok(()),
        }
    }

    /// Where an earlier twin that was not kept lies, if it takes room here.
    pub fn partial(&self) -> Option<PathBuf> {
        match &self.backing {
            Backing::File(file) => file.path.inode(PARTIAL).map(|_| file.path.path(PARTIAL)),
            Backing::BlockDevice(_) => None,
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
