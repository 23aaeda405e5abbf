//! The beginning of a twin's life: what is there is cleared away, and room is made.

use super::{FIRST, JOURNAL, PARTIAL, StoreRole, TwinStore};
use crate::backing::{TwinBacking, TwinFile};
use crate::unfinished_twin::TrailerState;
use crate::{Inode, TwinError, TwinImage, TwinPath, UnfinishedTwin, room};
use memtwin_pages::Layout;

impl TwinStore {
    /// Nothing that is here is gone on with: what a killed writer has left is moved to PATH.partial.
    pub fn clear(&self) -> Result<(), TwinError> {
        let TwinBacking::File(TwinFile { path, marker, left }) = &self.backing else {
            return Ok(());
        };
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

    /// Makes room for a new image, which says from its beginning, on the disk too, that it is
    /// unfinished. What is at PATH stays as it is; what is on a device is lost.
    ///
    /// Errors: there is no room, or the layout is not for this place.
    pub fn reserve(&self, layout: &Layout) -> Result<TwinImage, TwinError> {
        self.check_layout(layout)?;
        let (bytes, suffix) = (layout.bytes(), self.role.staged());
        if let TwinBacking::File(TwinFile { path, .. }) = &self.backing {
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
}
