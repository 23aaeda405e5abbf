//! A process that outlives us: when we are killed it leaves QEMU as it was found, and when we can't go on
//! while the guest stands still for us, it lets the guest run.
//!
//! QEMU itself ends the migration and lets the guest run on when the stream is ended at our end.
//! What it does not know is which settings there were before; and a process that is stopped
//! (SIGSTOP, Ctrl-Z) or waits for a disk ends nothing. So the guardian has a copy of the QMP connection,
//! one of our end of the stream, and the note of what there is to undo; it does no input or output of its
//! own but with QEMU and us, and listens:
//!
//! ```text
//! we -> guardian   what there is to undo (JSON)   + our end of the stream, and the note
//! we -> guardian   stream     + our end of the stream, if QEMU has connected only now
//! we -> guardian   watch N    in N milliseconds it ends the stream, unless it hears from us again
//! we -> guardian   unwatch    the guest does not stand still for us
//! guardian -> we   ended C    it has ended the stream; our state was C (proc_pid_stat(5))
//! we -> guardian   take over  we could not leave QEMU as it was: the rest is the guardian's
//! we -> guardian   dismissed  QEMU is as it was
//! ```
//!
//! The end of this without the last word is our death.

mod channel;
mod life;
mod state;
#[cfg(test)]
mod tests;

pub use life::guardian_main;

use crate::undo::Undo;
use crate::undo_note::UndoNote;
use channel::{ChannelEvent, GuardianChannel};
use memtwin_child::Spawn;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const DISMISSED: &str = "dismissed";
const TAKE_OVER: &str = "take over";
const UNWATCH: &str = "unwatch";
/// With our end of the stream.
const STREAM: &str = "stream";
/// Followed by milliseconds.
const WATCH: &str = "watch ";
/// Followed by a state.
const ENDED: &str = "ended ";

/// How long one that has taken over may try in all.
pub(crate) const TAKE_OVER_TIMEOUT: Duration = Duration::from_secs(600);
/// How long its success is waited for.
const SUCCESS_TIMEOUT: Duration = Duration::from_secs(3);
/// How long one that is dismissed may take to end.
const DISMISSAL_TIMEOUT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// The first word.
#[derive(Debug, Serialize, Deserialize)]
struct GuardianOrders {
    undo: Undo,
    note: PathBuf,
}

/// A guardian at its post. Dropped, it is dismissed.
#[derive(Debug)]
pub(crate) struct Guardian {
    child: Child,
    channel: Option<GuardianChannel>,
    dismiss: bool,
    ended_in: Option<char>,
}

impl Guardian {
    /// Posts a guardian. `command` executes a program that calls [`guardian_main`] and does
    /// nothing else; `qmp` is a copy of the connection, `stream` our end of the stream.
    pub(crate) fn post(
        mut command: Command,
        qmp: OwnedFd,
        stream: BorrowedFd<'_>,
        note: &UndoNote,
        undo: &Undo,
    ) -> io::Result<Self> {
        let (channel, theirs) = GuardianChannel::pair()?;
        // In a group of its own: what interrupts us is not for the guardian.
        command.stdin(Stdio::from(theirs)).stdout(Stdio::from(qmp)).process_group(0);
        // It may live longer than us, and whoever reads what we say waits for its end.
        command.stderr(Stdio::null());
        let child = command.spawn_outliving("it puts back what a killed Memtwin has changed")?;
        // Our copy of its end goes with this; it would keep the guardian's death from us.
        drop(command);
        let this = Self { child, channel: Some(channel), dismiss: true, ended_in: None };
        let orders = GuardianOrders { undo: undo.clone(), note: note.path().to_owned() };
        let orders = serde_json::to_string(&orders).map_err(io::Error::other)?;
        this.send(&orders, &[stream, note.as_fd()])?;
        Ok(this)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// QEMU has connected: this is our end of the stream.
    ///
    /// Errors: there is no guardian any more.
    pub(crate) fn give_stream(&self, stream: BorrowedFd<'_>) -> io::Result<()> {
        self.send(STREAM, &[stream])
    }

    /// The guest may stand still for us for this long from now on, and no longer unless this is said again.
    ///
    /// Errors: there is no guardian any more.
    pub(crate) fn watch(&self, pause: Duration) -> io::Result<()> {
        self.send(&format!("{WATCH}{}", pause.as_millis()), &[])
    }

    /// The guest does not stand still for us any more.
    pub(crate) fn unwatch(&self) {
        // One that is gone watches nothing.
        let _ = self.send(UNWATCH, &[]);
    }

    /// The state in which we were when it ended the stream, if it has.
    pub(crate) fn ended_in(&mut self) -> Option<char> {
        if let Some(channel) = &self.channel
            && let Ok(ChannelEvent::Word(word)) = channel.receive(Some(Duration::ZERO))
            && let Some(state) = word.strip_prefix(ENDED)
        {
            self.ended_in = state.chars().next();
        }
        self.ended_in
    }

    /// Leaves the rest to it, and waits a moment for its success. Whether it had any.
    pub(crate) fn hand_over(mut self) -> bool {
        self.dismiss = false;
        if self.send(TAKE_OVER, &[]).is_err() {
            return false;
        }
        self.ended_within(SUCCESS_TIMEOUT) == Some(true)
    }

    /// Waits for its end, for this long at most. Whether it ended well; `None`: it has not.
    fn ended_within(&mut self, timeout: Duration) -> Option<bool> {
        let since = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status.success()),
                Err(_) => return Some(false),
                Ok(None) if since.elapsed() >= timeout => return None,
                Ok(None) => std::thread::sleep(POLL_INTERVAL),
            }
        }
    }

    fn send(&self, word: &str, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.channel.as_ref().ok_or(io::ErrorKind::BrokenPipe)?.send(word, fds)
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        if self.dismiss {
            // One that is gone needs no word.
            let _ = self.send(DISMISSED, &[]);
            self.channel = None;
            if self.ended_within(DISMISSAL_TIMEOUT).is_none() {
                // It is stopped, perhaps; there is nothing that it would have to do.
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
    }
}
