//! The receiving end: serves the one session of a twin, over as many connections as it takes.
//!
//! Threads: one that listens, a few that let strangers introduce themselves, this one that serves
//! the sender, one that syncs and applies rounds ([`disk`]), one that gives signs of life.

mod disk;
mod door;
mod first;
mod image;
mod inspect;
mod journal;
mod keep;
mod place;
mod serve;
mod whole;

pub use door::Door;

use crate::RemoteError;
use crate::frames::{FrameWriter, PATIENCE};
use door::Caller;
use keep::Keep;
use memtwin_pages::Layout;
use memtwin_replicate::Stop;
use memtwin_wire::{Message, Outcome};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A moment in a receiver's life at which a test may end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "what has just been done")]
pub enum Point {
    FirstWritten,
    FirstSynced,
    FirstJournal,
    FirstRenamed,
    RoundAppended,
    RoundSynced,
    RoundAcknowledged,
    HalfApplied,
    RoundApplied,
    ImageSynced,
    NewJournal,
    Judged,
    JournalRemoved,
}

impl Point {
    /// Every one.
    pub const ALL: [Self; 13] = [
        Self::FirstWritten,
        Self::FirstSynced,
        Self::FirstJournal,
        Self::FirstRenamed,
        Self::RoundAppended,
        Self::RoundSynced,
        Self::RoundAcknowledged,
        Self::HalfApplied,
        Self::RoundApplied,
        Self::ImageSynced,
        Self::NewJournal,
        Self::Judged,
        Self::JournalRemoved,
    ];
}

/// Called at each [`Point`]: for tests.
#[derive(Clone)]
pub struct At(Arc<dyn Fn(Point) + Send + Sync>);

impl At {
    /// Calls this.
    pub fn new(call: impl Fn(Point) + Send + Sync + 'static) -> Self {
        Self(Arc::new(call))
    }

    pub(crate) fn reached(&self, point: Point) {
        (self.0)(point);
    }
}

impl fmt::Debug for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("At")
    }
}

/// How to receive.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long to wait for a sender whose connection broke.
    pub wait: Duration,
    /// How long to bear a silent peer, or a stranger.
    pub patience: Duration,
    /// When a journal has this many bytes, the image is synced and the journal begun anew.
    pub journal_bytes: u64,
    /// For tests: called at each point of a receiver's life.
    pub at: At,
    /// For tests: the receiver's nonce, in place of a random one.
    pub nonce: Option<[u8; 16]>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(60),
            patience: PATIENCE,
            journal_bytes: 64 << 20,
            at: At::new(|_| ()),
            nonce: None,
        }
    }
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The sender has told the judge's verdict.
    Judged {
        /// It.
        outcome: Outcome,
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

/// The writer of the connection of the moment, for whoever has something to say.
pub(crate) type Outlet = Arc<Mutex<Option<FrameWriter>>>;

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Receives one session into one file.
#[derive(Debug)]
pub struct Receiver {
    config: Config,
    keep: Keep,
    outlet: Outlet,
}

impl Receiver {
    /// Takes `path` for a twin. What a killed receiver has left there is brought to its last whole
    /// round, with which its sender may go on.
    ///
    /// Errors: no regular file, in use, or the file system fails.
    pub fn new(path: impl AsRef<Path>, config: Config) -> Result<Self, RemoteError> {
        let outlet = Outlet::default();
        let keep = Keep::take(path.as_ref(), &config, &outlet)?;
        Ok(Self { config, keep, outlet })
    }

    /// The round that a killed receiver has left, brought to order.
    pub fn recovered(&self) -> Option<u32> {
        self.keep.held()
    }

    /// The regions, once a sender has named them.
    pub fn layout(&self) -> Layout {
        self.keep.regions()
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.keep.path()
    }

    /// Serves the session that comes through the door, to its end.
    ///
    /// Errors: the file system fails, or a stop. What was received stays, to be gone on with.
    pub fn run(&mut self, door: &mut Door, stop: &Stop) -> Result<Ended, RemoteError> {
        let over = Stop::default();
        thread::scope(|scope| {
            let ended = {
                let callers = door.open(scope, &self.config, stop, &over)?;
                let outlet = Arc::clone(&self.outlet);
                let signs = over.clone();
                thread::Builder::new()
                    .name("signs of life".to_owned())
                    .spawn_scoped(scope, move || give_signs(&outlet, &signs))?;
                self.serve_all(&callers, stop)
            };
            over.set();
            ended
        })
    }

    fn serve_all(&mut self, callers: &door::Callers, stop: &Stop) -> Result<Ended, RemoteError> {
        let mut alone: Option<(Instant, String)> = None;
        loop {
            if stop.is_set() {
                return Err(RemoteError::Stopped);
            }
            if let Some((since, why)) = &alone {
                let wait =
                    if self.keep.is_over() { self.config.wait / 12 } else { self.config.wait };
                if since.elapsed() >= wait || callers.is_last() {
                    return Ok(self.keep.ended(why));
                }
            }
            let caller = match callers.next(Duration::from_millis(100)) {
                Ok(caller) => caller,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) if stop.is_set() => {
                    return Err(RemoteError::Stopped);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let why = alone.map_or("nobody came".to_owned(), |(_, why)| why);
                    return Ok(self.keep.ended(&why));
                }
            };
            let why = match self.serve(caller, callers, stop) {
                Ok(()) => return Ok(self.keep.ended("")),
                // The file system's failures are the end; a peer's are the connection's.
                Err(error @ (RemoteError::Disk { .. } | RemoteError::NoRoom { .. })) => {
                    return Err(error);
                }
                Err(error @ (RemoteError::Twin(_) | RemoteError::Stopped)) => return Err(error),
                Err(error) => error,
            };
            tracing::warn!("{why}");
            if self.keep.is_bound() {
                alone = Some((Instant::now(), why.to_string()));
            }
        }
    }

    fn serve(
        &mut self,
        caller: Caller,
        callers: &door::Callers,
        stop: &Stop,
    ) -> Result<(), RemoteError> {
        let closer = caller.closer.clone();
        callers.bind(Some((caller.hello.session, closer.clone())));
        let served = serve::serve(&mut self.keep, &self.config, &self.outlet, caller, stop);
        locked(&self.outlet).take();
        closer.close();
        if !self.keep.is_bound() {
            callers.bind(None);
        }
        served
    }
}

/// Says now and then that this side lives, whatever its disk is busy with.
fn give_signs(outlet: &Outlet, over: &Stop) {
    while !over.wait(Duration::from_secs(1)) {
        // Who is writing right now needs no other sign, and what is wrong shows elsewhere.
        if let Ok(mut writer) = outlet.try_lock()
            && let Some(writer) = &mut *writer
        {
            let _ = writer.send(&Message::Pong(0));
        }
    }
}
