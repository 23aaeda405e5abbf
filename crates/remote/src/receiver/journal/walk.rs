//! Reading a journal from its beginning, up to the first thing that is not right.

use super::JournalHeader;
use crate::RemoteError;
use memtwin_wire::{Direction, FrameKind, Inbox, Opener, SealKey, WireMessage, decode_layout};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Version 1 told its image by numbers of a device and of an inode, which another boot gives to others.
pub(super) const MAGIC: &[u8] = b"memtwin journal 2\n";
const MAGIC_1: &[u8] = b"memtwin journal 1\n";
/// Whether an earlier Memtwin began it.
pub(super) fn is_of_version_1(file: &File) -> bool {
    let mut magic = [0; MAGIC_1.len()];
    file.read_exact_at(&mut magic, 0).is_ok() && magic == MAGIC_1
}

/// A walk through a journal's frames.
pub(super) struct JournalWalk<'f> {
    file: &'f File,
    pub(super) inbox: Inbox,
    read: u64,
    /// Where the frame ends that was taken last.
    pub(super) at: u64,
    /// How many frames of the journal's key were taken.
    pub(super) frames: u64,
}

impl<'f> JournalWalk<'f> {
    /// Reads the header. `None`: this is no journal of ours, or a torn one.
    pub(super) fn open(file: &'f File) -> Result<Option<(JournalHeader, Self)>, RemoteError> {
        let mut magic = [0; MAGIC.len()];
        let at = MAGIC.len() as u64;
        if file.read_exact_at(&mut magic, 0).is_err() || magic != MAGIC {
            return Ok(None);
        }
        let opener = Opener::new(SealKey::OPENING, Direction::FromSender);
        let mut walk = Self { file, inbox: Inbox::new(opener), read: at, at, frames: 0 };
        let Some(FrameKind::Hello) = walk.next()? else { return Ok(None) };
        let Ok(WireMessage::Hello(hello)) = WireMessage::read(FrameKind::Hello, walk.inbox.body())
        else {
            return Ok(None);
        };
        let opener = Opener::new(SealKey::of_journal(&hello.session), Direction::FromSender);
        (walk.inbox, walk.read, walk.frames) = (Inbox::new(opener), walk.at, 0);
        let Some(FrameKind::Layout) = walk.next()? else { return Ok(None) };
        let Ok(layout) = decode_layout(walk.inbox.body()) else { return Ok(None) };
        let Some(FrameKind::Base) = walk.next()? else { return Ok(None) };
        let Ok(WireMessage::Base(base)) = WireMessage::read(FrameKind::Base, walk.inbox.body())
        else {
            return Ok(None);
        };
        Ok(Some((JournalHeader { session: hello.session, layout, base }, walk)))
    }

    /// The next frame. `None`: there is none, or it is torn.
    pub(super) fn next(&mut self) -> Result<Option<FrameKind>, RemoteError> {
        loop {
            let before = self.inbox.taken();
            match self.inbox.take_frame() {
                Ok(Some(kind)) => {
                    self.at += self.inbox.taken() - before;
                    self.frames += 1;
                    return Ok(Some(kind));
                }
                Ok(None) => {}
                Err(_) => return Ok(None),
            }
            let bytes = self.file.read_at(self.inbox.space(), self.read)?;
            if bytes == 0 {
                return Ok(None);
            }
            self.read += bytes as u64;
            self.inbox.filled(bytes);
        }
    }
}
