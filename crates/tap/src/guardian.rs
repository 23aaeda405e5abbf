//! A process that outlives us: when we are killed it leaves QEMU as it was found, and when we are
//! stopped at the wrong moment it lets the guest run.
//!
//! QEMU itself ends the migration and lets the guest run on when the stream is closed at our end.
//! What it does not know is which settings there were before; and a process that is stopped
//! (SIGSTOP, Ctrl-Z) closes nothing. So the guardian has a copy of the QMP connection and one of our
//! end of the stream, and listens to us:
//!
//! ```text
//! we -> guardian   what there is to undo (JSON)   + our end of the stream
//! we -> guardian   watch      from here on QEMU may pause the guest: a stop of ours stops it too
//! guardian -> we   stopped    we were stopped for so long that it has shut the stream
//! we -> guardian   dismissed  QEMU is as it was
//! ```
//!
//! The end of this without the last word is our death, or that we can't do it.

mod life;
mod talk;
mod watch;

pub use life::guardian_main;

use crate::undo::Undo;
use memtwin_child::Spawn;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use talk::{Heard, Talk};

/// The word by which a guardian is dismissed.
const DISMISSED: &str = "dismissed";
/// The word from which on it watches whether we are stopped.
const WATCH: &str = "watch";
/// Its word for that we were.
const STOPPED: &str = "stopped";
/// For how long we may be stopped while the guest stands still.
pub(crate) const STOPPED_FOR: Duration = Duration::from_secs(3);

/// A guardian at its post. Dropped, it is dismissed.
#[derive(Debug)]
pub(crate) struct Guardian {
    child: Child,
    talk: Option<Talk>,
    dismiss: bool,
    has_cut: bool,
}

impl Guardian {
    /// Posts a guardian. `command` executes a program that calls [`guardian_main`] and does
    /// nothing else; `qmp` is a copy of the connection, `stream` our end of the stream.
    pub(crate) fn post(
        mut command: Command,
        qmp: OwnedFd,
        stream: BorrowedFd<'_>,
        undo: &Undo,
    ) -> io::Result<Self> {
        let (talk, theirs) = Talk::pair()?;
        // In a group of its own: what interrupts us is not for the guardian.
        command.stdin(Stdio::from(theirs)).stdout(Stdio::from(qmp)).process_group(0);
        let child = command.spawn_outliving("it puts back what a killed Memtwin has changed")?;
        // Our copy of its end goes with this; it would keep the guardian's death from us.
        drop(command);
        let this = Self { child, talk: Some(talk), dismiss: true, has_cut: false };
        let undo = serde_json::to_string(undo).map_err(io::Error::other)?;
        this.say(&undo, Some(stream))?;
        Ok(this)
    }

    /// From here on QEMU may pause the guest at any time.
    ///
    /// Errors: there is no guardian any more.
    pub(crate) fn watch(&self) -> io::Result<()> {
        self.say(WATCH, None)
    }

    /// Whether it has cut the stream, as we were stopped.
    pub(crate) fn has_cut(&mut self) -> bool {
        if let Some(talk) = &self.talk
            && let Ok(Heard::Word(word)) = talk.hear(Some(Duration::ZERO))
        {
            self.has_cut |= word == STOPPED;
        }
        self.has_cut
    }

    /// Leaves the rest to it: it finds what we have found, and may have more patience or luck.
    pub(crate) fn hand_over(mut self) {
        self.dismiss = false;
    }

    fn say(&self, word: &str, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        self.talk.as_ref().ok_or(io::ErrorKind::BrokenPipe)?.say(word, fd)
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        if self.dismiss {
            // One that is gone needs no word.
            let _ = self.say(DISMISSED, None);
        }
        self.talk = None;
        // Also one that takes over: two clients must not use one connection at a time.
        let _ = self.child.wait();
    }
}
