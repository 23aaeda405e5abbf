//! The thread that makes rounds durable, acknowledges them, and applies them to the image.
//!
//! It takes all rounds that have ended since it last looked at once, so one sync serves as many
//! rounds as came while the disk was at the one before: nobody waits for a sync but the
//! acknowledgements.

use super::image::Image;
use super::journal::Tail;
use super::written::Written;
use super::{At, Outlet, Point, locked};
use crate::RemoteError;
use memtwin_wire::{Message, Shape};
use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// What there is to do.
#[derive(Default)]
struct Work {
    /// The end of the last round in the journal, and its number.
    ended: Option<(u64, u32)>,
    busy: bool,
    over: bool,
    /// Why nothing more is done. It stays, for everyone who asks.
    failed: Option<Arc<RemoteError>>,
}

impl Work {
    fn check(&self) -> Result<(), RemoteError> {
        match &self.failed {
            Some(error) => Err(RemoteError::Final(Arc::clone(error))),
            None => Ok(()),
        }
    }
}

fn failed(errno: std::io::Error) -> RemoteError {
    RemoteError::Disk { doing: "go on with", path: "the journal".into(), errno }
}

type Shared = Arc<(Mutex<Work>, Condvar)>;

/// The thread, seen from outside.
pub(super) struct Disk {
    shared: Shared,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Disk")
    }
}

/// What the thread works on.
pub(super) struct Bench {
    pub(super) journal: File,
    pub(super) tail: Tail,
    pub(super) image: Image,
    pub(super) written: Arc<Mutex<Written>>,
    pub(super) shape: Shape,
    pub(super) outlet: Outlet,
    pub(super) at: At,
}

impl Disk {
    pub(super) fn start(bench: Bench) -> Result<Self, RemoteError> {
        let shared = Shared::default();
        let for_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("disk".to_owned())
            .spawn(move || bench.work(&for_thread))
            .map_err(failed)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// A round has ended in the journal, at this place.
    pub(super) fn round(&self, end: u64, round: u32) -> Result<(), RemoteError> {
        let (work, changed) = &*self.shared;
        let mut work = locked(work);
        work.check()?;
        work.ended = Some((end, round));
        changed.notify_all();
        Ok(())
    }

    /// Errors if it has failed: what came since will never be acknowledged.
    pub(super) fn check(&self) -> Result<(), RemoteError> {
        locked(&self.shared.0).check()
    }

    /// Waits until everything is durable and applied.
    pub(super) fn idle(&self) -> Result<(), RemoteError> {
        let (work, changed) = &*self.shared;
        let work = changed
            .wait_while(locked(work), |work| {
                work.failed.is_none() && (work.busy || work.ended.is_some())
            })
            .unwrap_or_else(PoisonError::into_inner);
        work.check()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let (work, changed) = &*self.shared;
        locked(work).over = true;
        changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // Its errors are in the shared state.
            let _ = thread.join();
        }
    }
}

impl Bench {
    fn work(mut self, (work, changed): &(Mutex<Work>, Condvar)) {
        loop {
            let ended = {
                let mut work = changed
                    .wait_while(locked(work), |work| work.ended.is_none() && !work.over)
                    .unwrap_or_else(PoisonError::into_inner);
                let Some(ended) = work.ended.take() else { return };
                work.busy = true;
                ended
            };
            let done = self.rounds(ended);
            let mut work = locked(work);
            work.busy = false;
            if let Err(error) = done {
                // Whatever it is, this side's file can't be gone on with.
                work.failed = Some(Arc::new(match error {
                    error @ RemoteError::Disk { .. } => error,
                    error => failed(std::io::Error::other(error)),
                }));
            }
            changed.notify_all();
            if work.failed.is_some() {
                return;
            }
        }
    }

    fn rounds(&mut self, (end, round): (u64, u32)) -> Result<(), RemoteError> {
        self.journal.sync_data().map_err(|errno| RemoteError::Disk {
            doing: "sync the journal of",
            path: self.image.path.clone(),
            errno,
        })?;
        self.at.reached(Point::RoundSynced);
        acknowledge(&self.outlet, round);
        self.at.reached(Point::RoundAcknowledged);
        let half = || self.at.reached(Point::HalfApplied);
        let mut written = locked(&self.written);
        self.tail.apply(end, &self.shape, &self.image, &mut written, &half)?;
        drop(written);
        self.at.reached(Point::RoundApplied);
        Ok(())
    }
}

/// Tells the sender that a round, and all before it, is durable.
pub(super) fn acknowledge(outlet: &Outlet, round: u32) {
    if let Some(writer) = &mut *locked(outlet) {
        // Where the connection is broken, the next one's WELCOME tells.
        let _ = writer.send(&Message::Ack(round));
    }
}

#[cfg(test)]
mod tests {
    use super::super::journal::{Header, Journal};
    use super::super::place::Place;
    use super::*;
    use memtwin_pages::{Gpa, Layout, PageSize, Region};
    use memtwin_wire::Base;
    use rustix::fs::{Mode, OFlags, open};

    #[test]
    fn a_failure_stays_for_everyone_who_asks() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::of(&dir.path().join("twin")).unwrap();
        let region = Region::new("a", Gpa(0), 4096, PageSize::new(4096).unwrap()).unwrap();
        let layout = Layout::new(vec![region]);
        let shape = Shape::of(&layout);
        let base = Base { round: 0, image: [0; 16] };
        let header = Header { session: [1; 16], layout, base };
        let (_journal, tail) = Journal::prepare(&place, &header).unwrap().install(&place).unwrap();
        let image = Image::new(place.create("").unwrap(), place.path(""), 4096);
        // A file that is only a name can't be synced.
        let path = OFlags::PATH | OFlags::CLOEXEC;
        let broken = File::from(open(place.path(".journal"), path, Mode::empty()).unwrap());
        let bench = |journal| Bench {
            journal,
            tail,
            image,
            written: Arc::new(Mutex::new(Written::nothing(&shape))),
            shape: shape.clone(),
            outlet: Outlet::default(),
            at: At::new(|_| ()),
        };
        let disk = Disk::start(bench(broken)).unwrap();
        disk.check().unwrap();
        disk.round(0, 1).unwrap();
        for _ in 0..3 {
            let error = disk.idle().unwrap_err();
            assert!(error.to_string().contains("sync the journal"), "{error}");
            assert!(matches!(error.root(), RemoteError::Disk { .. }));
        }
        disk.check().unwrap_err();
        disk.round(0, 2).unwrap_err();
    }
}
