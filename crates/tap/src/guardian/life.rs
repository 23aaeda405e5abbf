//! A guardian's life.

use super::talk::{Heard, Talk};
use super::watch::Watch;
use super::{DISMISSED, STOPPED, STOPPED_FOR, WATCH};
use crate::undo::Undo;
use memtwin_qmp::Qmp;
use rustix::net::{Shutdown, shutdown};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// How long QEMU may take for each answer to a guardian.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it looks at us while it watches.
const LOOK: Duration = Duration::from_millis(100);

/// A guardian's life. Standard input is its talk with us, standard output the QMP connection.
///
/// Errors: QEMU could not be left as it was found, and why.
pub fn guardian_main() -> io::Result<()> {
    let qmp = io::stdout().as_fd().try_clone_to_owned()?;
    let talk = Talk::over(io::stdin().as_fd().try_clone_to_owned()?);
    // Whoever it is after our death: then the talk has ended as well.
    let parent = rustix::process::getppid();
    // Without the first word we were killed before anything was changed.
    let Heard::WithFd(undo, stream) = talk.hear(None)? else { return Ok(()) };
    let dismissed = is_dismissed(&talk, &stream, parent.map(Watch::of));
    if matches!(dismissed, Ok(true)) {
        return Ok(());
    }
    // In its last pass QEMU answers nobody until the stream is read, or ended.
    cut(&stream);
    let undo: Undo = serde_json::from_str(&undo)?;
    let mut qmp = Qmp::resume_on(qmp, PATIENCE).map_err(io::Error::other)?;
    undo.run(&mut qmp).map_err(io::Error::other)
}

/// Listens, and watches once it is told to, until we dismiss it or are gone.
fn is_dismissed(talk: &Talk, stream: &OwnedFd, mut parent: Option<Watch>) -> io::Result<bool> {
    let mut watches = false;
    loop {
        match talk.hear(watches.then_some(LOOK))? {
            Heard::Word(word) if word == DISMISSED => return Ok(true),
            Heard::Word(word) if word == WATCH => watches = true,
            Heard::End => return Ok(false),
            Heard::Word(_) | Heard::WithFd(..) | Heard::Nothing => {}
        }
        if watches && parent.as_mut().is_some_and(|parent| parent.stopped() >= STOPPED_FOR) {
            // The word first: it is there when we are continued. The settings are ours to put back:
            // two clients must not use one connection at a time.
            let _ = talk.say(STOPPED, None);
            cut(stream);
            watches = false;
        }
    }
}

/// Ends the stream, for all who have a copy of it: QEMU ends the migration, and lets the guest run.
fn cut(stream: &OwnedFd) {
    // Fails only if it has ended already.
    let _ = shutdown(stream, Shutdown::Both);
}
