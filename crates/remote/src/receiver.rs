//! The receiving end: serves the one session of a twin, over as many connections as it takes.
//!
//! Threads: one that listens, a few in which strangers introduce themselves ([`listener`]), this one that
//! serves the sender whose turn it is, one that syncs and applies rounds ([`disk_worker`]), one that gives
//! signs of life.

mod admission;
mod committed_twin;
mod config;
mod conversation;
mod disk_worker;
mod initial_copy;
mod introduction;
mod journal;
mod listener;
mod nonzero_blocks;
mod point_hook;
mod received_image;
mod received_state;
mod received_twin;
mod recovery;
mod serving_queue;
mod shared_writer;

pub use config::ReceiverConfig;
pub use listener::Listener;
pub use point_hook::{PointHook, ReceiverPoint};

use crate::RemoteError;
use memtwin_pages::Layout;
use memtwin_replicate::CancelToken;
use memtwin_wire::{TwinVerdict, WireMessage};
use received_twin::ReceivedTwin;
use serving_queue::{NextPeer, PendingPeer, ServingQueue};
use shared_writer::{SharedWriter, locked};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiveEnd {
    /// The sender has told the judge's verdict.
    Judged {
        /// It.
        outcome: TwinVerdict,
        /// The judge's reason.
        reason: String,
        /// Whether the file at PATH is a complete twin now; if not, why.
        kept: Result<(), String>,
    },
    /// The sender's connection broke, and it did not come back.
    Abandoned {
        /// The last round that the twin holds.
        held: Option<u32>,
        /// Why the last connection ended.
        why: String,
    },
}

/// Receives one session into one file.
#[derive(Debug)]
pub struct TwinReceiver {
    config: ReceiverConfig,
    twin: ReceivedTwin,
    shared_writer: SharedWriter,
}

impl TwinReceiver {
    /// Takes `path` for a twin. What a killed receiver has left there is brought to its last whole
    /// round, with which its sender may go on.
    ///
    /// Errors: no regular file, in use, or the file system fails.
    pub fn new(path: impl AsRef<Path>, config: ReceiverConfig) -> Result<Self, RemoteError> {
        let shared_writer = SharedWriter::default();
        let twin = ReceivedTwin::take(path.as_ref(), &config, &shared_writer)?;
        Ok(Self { config, twin, shared_writer })
    }

    /// The round that a killed receiver has left, brought to order.
    pub fn recovered(&self) -> Option<u32> {
        self.twin.held()
    }

    /// The regions, once a sender has named them.
    pub fn layout(&self) -> Layout {
        self.twin.regions()
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.twin.path()
    }

    /// Serves the session that comes in by the listener, to its end.
    ///
    /// Errors: the file system fails, or a stop. What was received stays, to be gone on with.
    pub fn run(
        &mut self,
        listener: &mut Listener,
        stop: &CancelToken,
    ) -> Result<ReceiveEnd, RemoteError> {
        let over = CancelToken::default();
        let queue = Arc::new(ServingQueue::new(self.twin.session()));
        thread::scope(|scope| {
            let ended = self.run_in(scope, listener, &queue, stop, &over);
            // Whoever still introduces itself, or the threads would be waited for.
            over.set();
            ended
        })
    }

    fn run_in<'s>(
        &mut self,
        scope: &'s thread::Scope<'s, '_>,
        listener: &mut Listener,
        queue: &Arc<ServingQueue>,
        stop: &CancelToken,
        over: &CancelToken,
    ) -> Result<ReceiveEnd, RemoteError> {
        listener.open(scope, queue, &self.config, stop, over)?;
        let (shared_writer, signs) = (Arc::clone(&self.shared_writer), over.clone());
        thread::Builder::new()
            .name("signs of life".to_owned())
            .spawn_scoped(scope, move || give_signs(&shared_writer, &signs))?;
        self.serve_all(queue, listener.is_once(), stop)
    }

    /// Serves one after the other, until a session has come to its end.
    fn serve_all(
        &mut self,
        queue: &ServingQueue,
        once: bool,
        stop: &CancelToken,
    ) -> Result<ReceiveEnd, RemoteError> {
        // Since when the sender of a session is gone, and why.
        let mut alone: Option<(Instant, String)> = None;
        let mut last = None;
        loop {
            if stop.is_set() {
                return Err(RemoteError::Stopped);
            }
            if let Some((since, why)) = &alone {
                let wait =
                    if self.twin.is_over() { self.config.wait / 12 } else { self.config.wait };
                if since.elapsed() >= wait || once {
                    return Ok(self.twin.ended(why));
                }
            }
            let caller = match queue.next(Duration::from_millis(100)) {
                NextPeer::Pending(caller) => caller,
                NextPeer::Nobody => continue,
                NextPeer::Closed if stop.is_set() => return Err(RemoteError::Stopped),
                NextPeer::Closed => {
                    let why = last.unwrap_or_else(|| "nobody came".to_owned());
                    return Ok(self.twin.ended(&why));
                }
            };
            let closer = caller.closer.clone();
            let served = self.serve(*caller, queue, stop);
            let begun = self.twin.break_off();
            queue.know(self.twin.session());
            queue.leave(self.twin.is_bound());
            closer.close();
            let why = match served {
                Ok(()) => return Ok(self.twin.ended("")),
                Err(error) => error,
            };
            match why.root() {
                // This side's failures are the end; a peer's are its connection's.
                RemoteError::Disk { .. } | RemoteError::Twin(_) | RemoteError::Stopped => {
                    return Err(why);
                }
                // Nobody will come in its place.
                RemoteError::NoRoom { .. }
                | RemoteError::Unkept(_)
                | RemoteError::DeviceHeld { .. }
                    if once =>
                {
                    return Err(why);
                }
                _ => tracing::warn!("{why}"),
            }
            last = Some(why.to_string());
            // A sender that was refused was no session; one that went away may come again.
            if self.twin.is_bound() || (begun && why.code().is_none()) {
                alone = Some((Instant::now(), why.to_string()));
            }
        }
    }

    fn serve(
        &mut self,
        caller: PendingPeer,
        queue: &ServingQueue,
        stop: &CancelToken,
    ) -> Result<(), RemoteError> {
        let shared_writer = Arc::clone(&self.shared_writer);
        let mut served = conversation::PeerConversation {
            twin: &mut self.twin,
            config: &self.config,
            shared_writer: &shared_writer,
            queue,
            stop,
        };
        let served = served.serve(caller);
        locked(&shared_writer).take();
        served
    }
}

/// Says now and then that this side lives, whatever its disk is busy with.
fn give_signs(shared_writer: &SharedWriter, over: &CancelToken) {
    while !over.wait(Duration::from_secs(1)) {
        // Who is writing right now needs no other sign, and what is wrong shows elsewhere.
        if let Ok(mut writer) = shared_writer.try_lock()
            && let Some(writer) = &mut *writer
        {
            let _ = writer.send(&WireMessage::Pong(0));
        }
    }
}
