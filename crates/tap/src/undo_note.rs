//! A note of what there is to undo in a QEMU, in a file of its own: when Memtwin and its guardian are
//! both killed, the next run finds it and puts back what they left.
//!
//! The file is locked (flock(2)) by whoever is at work on this QEMU, the guardian included: an unlocked
//! note with something in it is what was left, and a locked one says that this QEMU is in use.

use crate::undo::Undo;
use memtwin_qemu::ProcessId;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, open};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The settings of a QEMU, as JSON, take a few kilobytes.
const LONGEST: u64 = 64 << 10;

/// A note that is ours.
#[derive(Debug)]
pub(crate) struct UndoNote {
    path: PathBuf,
    file: File,
}

/// What there was instead of a free note.
#[derive(Debug)]
pub(crate) enum TakenNote {
    /// It is ours now; what somebody left who is no more.
    Ours(UndoNote, Option<Box<Undo>>),
    /// Somebody is at work on this QEMU.
    InUse,
}

impl UndoNote {
    /// Takes the note of this QEMU, in this directory, which must be ours alone.
    ///
    /// Errors: the file can't be made or read.
    pub(crate) fn take(dir: &Path, qemu: &ProcessId) -> io::Result<TakenNote> {
        let path = dir.join(format!("qemu-{}-{}.json", qemu.pid, qemu.started));
        loop {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let file = File::from(open(&path, flags, Mode::RUSR | Mode::WUSR)?);
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(TakenNote::InUse),
                Err(errno) => return Err(errno.into()),
            }
            // Who had it before us may have removed it between the two.
            if fstat(&file)?.st_nlink == 0 {
                continue;
            }
            let mut text = String::new();
            (&file).take(LONGEST).read_to_string(&mut text)?;
            // One of which only a part was written is of a run that had not changed anything.
            let left = serde_json::from_str::<Undo>(&text).ok();
            let left = left.filter(|undo| undo.qemu == *qemu).map(Box::new);
            return Ok(TakenNote::Ours(Self { path, file }, left));
        }
    }

    /// What somebody has handed over.
    pub(crate) fn over(path: PathBuf, file: OwnedFd) -> Self {
        Self { path, file: File::from(file) }
    }

    /// Writes down what there is to undo, before anything is changed.
    ///
    /// Errors: no room.
    pub(crate) fn write(&self, undo: &Undo) -> io::Result<()> {
        let text = serde_json::to_string(undo).map_err(io::Error::other)?;
        let mut file = &self.file;
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(text.as_bytes())
    }

    /// Nothing is left to undo.
    pub(crate) fn remove(&self) {
        // One that stays names a value only while QEMU still has it: it can do no harm.
        let _ = fs::remove_file(&self.path);
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for UndoNote {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_qemu::QemuSettings;

    fn undo(qemu: &ProcessId) -> Undo {
        Undo {
            settings: QemuSettings::new().parameter("max-bandwidth", 128),
            capabilities: [].into(),
            parameters: [].into(),
            node: None,
            ran: true,
            qemu: qemu.clone(),
            monitor: "/run/qmp".parse().unwrap(),
            peer: Some(7),
        }
    }

    fn taken(dir: &Path, qemu: &ProcessId) -> (UndoNote, Option<Box<Undo>>) {
        match UndoNote::take(dir, qemu).unwrap() {
            TakenNote::Ours(note, left) => (note, left),
            TakenNote::InUse => panic!("in use"),
        }
    }

    #[test]
    fn what_was_left_is_found_by_the_next_and_what_is_in_use_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let qemu = ProcessId::of(std::process::id()).unwrap();
        let (note, left) = taken(dir.path(), &qemu);
        assert!(left.is_none());
        note.write(&undo(&qemu)).unwrap();
        assert!(matches!(UndoNote::take(dir.path(), &qemu).unwrap(), TakenNote::InUse));
        // A guardian has it too, and lives longer.
        let guardian = UndoNote::over(note.path().into(), note.file.try_clone().unwrap().into());
        drop(note);
        assert!(matches!(UndoNote::take(dir.path(), &qemu).unwrap(), TakenNote::InUse));
        drop(guardian);
        let (note, left) = taken(dir.path(), &qemu);
        assert_eq!(*left.unwrap(), undo(&qemu));
        note.remove();
        drop(note);
        assert!(taken(dir.path(), &qemu).1.is_none());
    }

    #[test]
    fn a_note_of_another_process_of_this_number_or_half_a_note_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let qemu = ProcessId::of(std::process::id()).unwrap();
        let (note, _) = taken(dir.path(), &qemu);
        note.write(&undo(&ProcessId { boot: "another".to_owned(), ..qemu.clone() })).unwrap();
        drop(note);
        let (note, left) = taken(dir.path(), &qemu);
        assert!(left.is_none());
        note.file.set_len(9).unwrap();
        drop(note);
        assert!(taken(dir.path(), &qemu).1.is_none());
    }
}
