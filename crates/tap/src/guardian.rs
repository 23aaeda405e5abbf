//! A process that outlives us: when we are killed it leaves QEMU as it was found.
//!
//! QEMU itself ends the migration and lets the guest run on when our end of the stream is closed,
//! as a kill closes it. What it does not know is which settings there were before. The guardian
//! has a copy of the QMP connection, and waits at a pipe from us: a word on it dismisses the
//! guardian, its end without the word is our death.

use crate::undo::Undo;
use memtwin_qmp::Qmp;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The word by which a guardian is dismissed.
const DISMISSED: &str = "dismissed";
/// How long QEMU may take for each answer to a guardian.
const PATIENCE: Duration = Duration::from_secs(10);

/// A guardian at its post. Dropped, it is dismissed.
#[derive(Debug)]
pub(crate) struct Guardian {
    child: Child,
    dismiss: bool,
}

impl Guardian {
    /// Posts a guardian. `command` executes a program that calls [`guardian_main`] and does
    /// nothing else; `qmp` is a copy of the connection.
    pub(crate) fn post(mut command: Command, qmp: OwnedFd, undo: &Undo) -> io::Result<Self> {
        // In a group of its own: what interrupts us is not for the guardian.
        command.stdin(Stdio::piped()).stdout(Stdio::from(qmp)).process_group(0);
        let child = command.spawn()?;
        let mut this = Self { child, dismiss: true };
        let undo = serde_json::to_string(undo).map_err(io::Error::other)?;
        this.say(&undo)?;
        Ok(this)
    }

    /// Leaves the rest to it: it finds what we have found, and may have more patience or luck.
    pub(crate) fn hand_over(mut self) {
        self.dismiss = false;
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        let stdin = self.child.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(stdin, "{line}")
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        if self.dismiss {
            // One that is gone needs no word.
            let _ = self.say(DISMISSED);
        }
        drop(self.child.stdin.take());
        // Also one that takes over: two clients must not use one connection at a time.
        let _ = self.child.wait();
    }
}

/// A guardian's life. Standard input is the pipe, standard output the QMP connection.
///
/// Errors: QEMU could not be left as it was found, and why.
pub fn guardian_main() -> io::Result<()> {
    let qmp = io::stdout().as_fd().try_clone_to_owned()?;
    let mut lines = BufReader::new(io::stdin()).lines();
    // Without the first line we were killed before anything was changed.
    let Some(undo) = lines.next().transpose()? else { return Ok(()) };
    if lines.next().transpose()?.as_deref() == Some(DISMISSED) {
        return Ok(());
    }
    let undo: Undo = serde_json::from_str(&undo)?;
    let mut qmp = Qmp::resume_on(qmp, PATIENCE).map_err(io::Error::other)?;
    undo.run(&mut qmp).map_err(io::Error::other)
}
