//! The end of a tap, on every way out: QEMU is left as it was found, or it is said what was left changed,
//! who goes on with it, and how it is put back by hand.

use crate::guardian::{Guardian, TAKE_OVER_TIMEOUT};
use crate::socket::StreamSocket;
use crate::undo::{Undo, UndoError};
use crate::undo_note::UndoNote;
use memtwin_qmp::Qmp;

/// What must be undone, and who does it if we can't.
#[derive(Debug)]
pub(crate) struct Cleanup {
    undo: Undo,
    note: UndoNote,
    guardian: Guardian,
}

/// Why QEMU is not as it was, and what becomes of it.
#[derive(Debug, thiserror::Error)]
#[error("{reason}{left}")]
pub struct CloseError {
    /// Why.
    pub reason: Box<UndoError>,
    /// What stands changed, who goes on with it, and how it is put back by hand; empty if nothing does.
    pub left: String,
}

impl CloseError {
    /// Whether QEMU itself is gone: there is nothing left to undo.
    pub fn is_gone(&self) -> bool {
        matches!(*self.reason, UndoError::Gone { .. })
    }
}

impl Cleanup {
    pub(crate) fn new(undo: Undo, note: UndoNote, guardian: Guardian) -> Self {
        Self { undo, note, guardian }
    }

    pub(crate) fn guardian(&mut self) -> &mut Guardian {
        &mut self.guardian
    }

    /// Leaves QEMU as it was found.
    ///
    /// Errors: it is gone, or could not be left so; the guardian goes on then.
    pub(crate) fn finish(self, qmp: &mut Qmp, stream: &StreamSocket) -> Result<(), CloseError> {
        // A guest that stands still for us runs from here on, before the guardian looks away.
        stream.end();
        self.guardian.unwatch();
        let Err(error) = self.undone(qmp, stream) else {
            self.note.remove();
            return Ok(());
        };
        if !self.undo.qemu.exists() {
            self.note.remove();
            let reason = Box::new(UndoError::Gone { pid: self.undo.qemu.pid });
            return Err(CloseError { reason, left: String::new() });
        }
        let (pid, commands) = (self.guardian.pid(), self.undo.commands());
        if self.guardian.hand_over() {
            return Ok(());
        }
        let left = format!(
            "; QEMU's migration settings may stand changed: process {pid} goes on trying to put them back \
             for {} minutes, and so does the next audit; by hand, on its monitor: {commands}",
            TAKE_OVER_TIMEOUT.as_secs() / 60
        );
        Err(CloseError { reason: Box::new(error), left })
    }

    fn undone(&self, qmp: &mut Qmp, stream: &StreamSocket) -> Result<(), UndoError> {
        match self.undo.run(qmp, stream) {
            // The connection has ended, and QEMU has not: over a new one.
            Err(error) if error.is_disconnected() => self.undo.settle(&mut self.undo.reconnect()?),
            done => done,
        }
    }
}
