//! The thread that makes rounds durable, acknowledges them, and applies them to the image.
//!
//! It takes all rounds that have ended since it last looked at once, so one sync serves as many
//! rounds as came while the disk was at the one before: nobody waits for a sync but the
//! acknowledgements.

use super::journal::JournalReader;
use super::nonzero_blocks::NonzeroBlocks;
use super::received_image::ReceivedImage;
use super::shared_writer::{SharedWriter, locked};
use super::{PointHook, ReceiverPoint};
use crate::RemoteError;
use memtwin_wire::{TwinShape, WireMessage};
use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// What there is to do.
#[derive(Default)]
struct DiskQueue {
    /// The end of the last round in the journal, and its number.
    ended: Option<(u64, u32)>,
    busy: bool,
    over: bool,
    /// Why nothing more is done. It stays, for everyone who asks.
    failed: Option<Arc<RemoteError>>,
}

impl DiskQueue {
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

type SharedDiskQueue = Arc<(Mutex<DiskQueue>, Condvar)>;

/// The thread, seen from outside.
pub(super) struct DiskThread {
    shared: SharedDiskQueue,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for DiskThread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DiskThread")
    }
}

/// What the thread works on.
pub(super) struct DiskWorker {
    pub(super) journal: File,
    pub(super) tail: JournalReader,
    pub(super) image: ReceivedImage,
    pub(super) written: Arc<Mutex<NonzeroBlocks>>,
    pub(super) shape: TwinShape,
    pub(super) shared_writer: SharedWriter,
    pub(super) at: PointHook,
}

impl DiskThread {
    pub(super) fn start(worker: DiskWorker) -> Result<Self, RemoteError> {
        let shared = SharedDiskQueue::default();
        let for_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("disk".to_owned())
            .spawn(move || worker.work(&for_thread))
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

impl Drop for DiskThread {
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

impl DiskWorker {
    fn work(mut self, (work, changed): &(Mutex<DiskQueue>, Condvar)) {
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
        self.at.reached(ReceiverPoint::RoundSynced);
        acknowledge(&self.shared_writer, round);
        self.at.reached(ReceiverPoint::RoundAcknowledged);
        let half = || self.at.reached(ReceiverPoint::HalfApplied);
        let mut written = locked(&self.written);
        self.tail.apply(end, &self.shape, &self.image, &mut written, &half)?;
        drop(written);
        self.at.reached(ReceiverPoint::RoundApplied);
        Ok(())
    }
}

/// Tells the sender that a round, and all before it, is durable.
pub(super) fn acknowledge(shared_writer: &SharedWriter, round: u32) {
    if let Some(writer) = &mut *locked(shared_writer) {
        // Where the connection is broken, the next one's WELCOME tells.
        let _ = writer.send(&WireMessage::Ack(round));
    }
}

#[cfg(test)]
mod tests {
    use super::super::journal::{JournalHeader, RoundJournal};
    use super::*;
    use memtwin_pages::{Gpa, Layout, PageSize, Region};
    use memtwin_twin::TwinPath;
    use memtwin_wire::JournalBase;
    use rustix::fs::{Mode, OFlags, open};

    #[test]
    fn a_failure_stays_for_everyone_who_asks() {
        let dir = tempfile::tempdir().unwrap();
        let place = TwinPath::exact(&dir.path().join("twin")).unwrap();
        let region = Region::new("a", Gpa(0), 4096, PageSize::new(4096).unwrap()).unwrap();
        let layout = Layout::new(vec![region]);
        let shape = TwinShape::of(&layout);
        let base = JournalBase { round: 0, image: [0; 16] };
        let header = JournalHeader { session: [1; 16], layout, base };
        let (_journal, tail) =
            RoundJournal::prepare(&place, &header).unwrap().install(&place).unwrap();
        let image = ReceivedImage::new(place.create("").unwrap(), place.path(""), 4096);
        // A file that is only a name can't be synced.
        let path = OFlags::PATH | OFlags::CLOEXEC;
        let broken = File::from(open(place.path(".journal"), path, Mode::empty()).unwrap());
        let worker = |journal| DiskWorker {
            journal,
            tail,
            image,
            written: Arc::new(Mutex::new(NonzeroBlocks::nothing(&shape))),
            shape: shape.clone(),
            shared_writer: SharedWriter::default(),
            at: PointHook::new(|_| ()),
        };
        let disk = DiskThread::start(worker(broken)).unwrap();
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
