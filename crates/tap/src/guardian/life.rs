//! A guardian's life.

use super::channel::{ChannelEvent, GuardianChannel};
use super::state::state_of;
use super::{
    DISMISSED, ENDED, GuardianOrders, STREAM, TAKE_OVER, TAKE_OVER_TIMEOUT, UNWATCH, WATCH,
};
use crate::socket::StreamSocket;
use crate::undo::{Undo, UndoError};
use crate::undo_note::UndoNote;
use memtwin_qmp::Qmp;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

/// How long QEMU may take for each answer to a guardian.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it waits before it tries again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A guardian's life. Standard input is its channel to us, standard output the QMP connection.
///
/// Errors: QEMU could not be left as it was found, and why; the note stays for the next run.
pub fn guardian_main() -> io::Result<()> {
    let qmp = io::stdout().as_fd().try_clone_to_owned()?;
    close_standard_output()?;
    let channel = GuardianChannel::over(io::stdin().as_fd().try_clone_to_owned()?);
    // Whoever it is after our death: then the channel has ended as well.
    let parent = rustix::process::getppid();
    // Without the first word we were killed before anything was changed.
    let ChannelEvent::WithFds(orders, fds) = channel.receive(None)? else { return Ok(()) };
    let [stream, note]: [OwnedFd; 2] =
        fds.try_into().map_err(|_| io::Error::other("orders without a stream and a note"))?;
    let GuardianOrders { undo, note: path } = serde_json::from_str(&orders)?;
    let stream = StreamSocket::over(stream);
    let note = UndoNote::over(path, note);
    let watched = WatchedState { channel, stream: &stream, parent };
    if matches!(watched.is_dismissed(), Ok(true)) {
        return Ok(());
    }
    let done = take_over(&undo, &stream, qmp);
    if matches!(done, Ok(()) | Err(UndoError::Gone { .. })) {
        note.remove();
        return Ok(());
    }
    done.map_err(io::Error::other)
}

/// The connection is to be closed when another takes its place, so this copy must not stay.
fn close_standard_output() -> io::Result<()> {
    let null = std::fs::File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(null)?;
    Ok(())
}

/// Tries until QEMU is as it was, has ended, or the time is over.
fn take_over(undo: &Undo, stream: &StreamSocket, qmp: OwnedFd) -> Result<(), UndoError> {
    let since = Instant::now();
    // Before QEMU is asked for anything: while it waits for room in the stream it may answer nobody.
    stream.end();
    let first = Qmp::resume_on(qmp, ANSWER_TIMEOUT).map_err(UndoError::from);
    let mut done = first.and_then(|mut qmp| undo.run(&mut qmp, stream));
    while done.is_err() && undo.qemu.exists() && since.elapsed() < TAKE_OVER_TIMEOUT {
        thread::sleep(RETRY_INTERVAL);
        // Its own each time, and none in between: a monitor serves one client.
        done = undo.reconnect().and_then(|mut qmp| undo.run(&mut qmp, stream));
    }
    if undo.qemu.exists() { done } else { Err(UndoError::Gone { pid: undo.qemu.pid }) }
}

/// What a guardian looks at while we live.
struct WatchedState<'s> {
    channel: GuardianChannel,
    stream: &'s StreamSocket,
    parent: Option<rustix::process::Pid>,
}

impl WatchedState<'_> {
    /// Listens, and ends the stream when it must, until we dismiss it, hand over or are gone.
    fn is_dismissed(&self) -> io::Result<bool> {
        let mut end_at: Option<Instant> = None;
        loop {
            let left = end_at.map(|at| at.saturating_duration_since(Instant::now()));
            match self.channel.receive(left)? {
                ChannelEvent::Word(word) if word == DISMISSED => return Ok(true),
                ChannelEvent::Word(word) if word == TAKE_OVER => return Ok(false),
                ChannelEvent::Word(word) if word == UNWATCH => end_at = None,
                ChannelEvent::Word(word) => {
                    if let Some(Ok(pause)) = word.strip_prefix(WATCH).map(str::parse) {
                        end_at = Instant::now().checked_add(Duration::from_millis(pause));
                    }
                }
                ChannelEvent::End => return Ok(false),
                ChannelEvent::WithFds(word, fds) if word == STREAM => {
                    fds.into_iter().for_each(|stream| self.stream.connect(stream));
                }
                ChannelEvent::WithFds(..) | ChannelEvent::Nothing => {}
            }
            if end_at.is_some_and(|at| Instant::now() >= at) {
                self.stream.end();
                end_at = None;
                // It is there when we go on. The settings are ours to put back: two clients must not
                // use one connection at a time.
                let state = self.parent.and_then(state_of).unwrap_or('?');
                let _ = self.channel.send(&format!("{ENDED}{state}"), &[]);
            }
        }
    }
}
