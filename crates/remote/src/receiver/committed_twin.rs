//! A twin that holds a whole round, and the rounds that come after it.

use super::ReceiverPoint;
use super::config::ReceiverConfig;
use super::disk_worker::{DiskThread, DiskWorker};
use super::initial_copy::check_blocks;
use super::journal::{JOURNAL, JournalHeader, JournalReader, RecoveredJournal, RoundJournal};
use super::nonzero_blocks::NonzeroBlocks;
use super::received_image::ReceivedImage;
use super::shared_writer::SharedWriter;
use crate::RemoteError;
use memtwin_pages::{Layout, RegionId};
use memtwin_replicate::CancelToken;
use memtwin_twin::{TwinImage, TwinPath};
use memtwin_wire::{JournalBase, PageRecords, RoundEnd, TwinShape};
use std::sync::{Arc, Mutex};

/// How many bytes of rounds may wait to be applied; then the sender waits.
const MOST_BEHIND: u64 = 16 << 20;

/// How much of the image is hashed at once.
const HASH: usize = 256 << 10;

/// A twin that holds a whole round.
#[derive(Debug)]
pub(super) struct CommittedTwin {
    pub(super) session: [u8; 16],
    pub(super) layout: Layout,
    /// The file or device, and its state.
    pub(super) kept: TwinImage,
    /// The last round that has ended in the journal.
    pub(super) held: u32,
    shape: TwinShape,
    image: ReceivedImage,
    written: Arc<Mutex<NonzeroBlocks>>,
    journal: RoundJournal,
    /// Where the journal lies.
    journals: Arc<TwinPath>,
    /// `None` only while one takes the place of another.
    disk: Option<DiskThread>,
    /// The blocks of the round that is on its way.
    blocks: u64,
    /// Up to here in the journal everything was applied when somebody last looked.
    settled: u64,
    journal_bytes: u64,
    shared_writer: SharedWriter,
    at: super::PointHook,
}

/// What a whole twin is made of.
pub(super) struct CommittedParts {
    pub(super) header: JournalHeader,
    pub(super) round: u32,
    pub(super) kept: TwinImage,
    pub(super) image: ReceivedImage,
    pub(super) written: NonzeroBlocks,
    pub(super) journal: RoundJournal,
    pub(super) journals: Arc<TwinPath>,
    pub(super) tail: JournalReader,
}

impl CommittedTwin {
    pub(super) fn new(
        parts: CommittedParts,
        config: &ReceiverConfig,
        shared_writer: &SharedWriter,
    ) -> Result<Self, RemoteError> {
        let CommittedParts { header, round, kept, image, written, journal, journals, tail } = parts;
        let mut this = Self {
            session: header.session,
            shape: TwinShape::of(&header.layout),
            layout: header.layout,
            kept,
            held: round,
            image,
            written: Arc::new(Mutex::new(written)),
            journal,
            journals,
            disk: None,
            blocks: 0,
            settled: 0,
            journal_bytes: config.journal_bytes,
            shared_writer: shared_writer.clone(),
            at: config.at.clone(),
        };
        this.start(tail)?;
        Ok(this)
    }

    /// Of what a killed receiver has left: everything in the journal is in the image afterwards.
    pub(super) fn recover(
        mut left: RecoveredJournal,
        journals: Arc<TwinPath>,
        kept: TwinImage,
        config: &ReceiverConfig,
        shared_writer: &SharedWriter,
    ) -> Result<Self, RemoteError> {
        let shape = TwinShape::of(&left.header.layout);
        let mut written = NonzeroBlocks::everything(&shape);
        let image = ReceivedImage::of(&kept)?;
        left.tail.apply(left.journal.bytes(), &shape, &image, &mut written, &|| ())?;
        kept.sync()?;
        let RecoveredJournal { journal, tail, header, round } = left;
        let parts = CommittedParts { header, round, kept, image, written, journal, journals, tail };
        Self::new(parts, config, shared_writer)
    }

    fn start(&mut self, tail: JournalReader) -> Result<(), RemoteError> {
        self.disk = Some(DiskThread::start(DiskWorker {
            journal: self.journal.handle()?,
            tail,
            image: self.image.again()?,
            written: Arc::clone(&self.written),
            shape: self.shape.clone(),
            shared_writer: self.shared_writer.clone(),
            at: self.at.clone(),
        })?);
        Ok(())
    }

    fn disk(&self) -> Result<&DiskThread, RemoteError> {
        self.disk.as_ref().ok_or_else(|| RemoteError::order("the disk's thread is gone"))
    }

    /// Errors if the disk has failed.
    pub(super) fn check(&self) -> Result<(), RemoteError> {
        self.disk()?.check()
    }

    /// Takes the records of a frame. They are checked before any is kept.
    pub(super) fn records(&mut self, body: &[u8]) -> Result<(), RemoteError> {
        let blocks: u64 = PageRecords::from_peer(body, &self.shape)?.map(|it| it.blocks().2).sum();
        self.journal.records(body)?;
        self.blocks += blocks;
        Ok(())
    }

    /// Ends a round. It will be acknowledged when it is durable.
    pub(super) fn end(&mut self, round: RoundEnd) -> Result<(), RemoteError> {
        check_blocks(round, self.blocks)?;
        if round.round <= self.held {
            return Err(RemoteError::order(format!(
                "round {} after round {}",
                round.round, self.held
            )));
        }
        let end = self.journal.round(round)?;
        self.at.reached(ReceiverPoint::RoundAppended);
        self.blocks = 0;
        self.held = round.round;
        self.disk()?.round(end, round.round)?;
        // Counted from the last time that everything was applied: at most so much is not.
        if end.saturating_sub(self.settled) > MOST_BEHIND {
            self.settle()?;
            self.settled = end;
        }
        if end >= self.journal_bytes { self.begin_journal() } else { Ok(()) }
    }

    /// Syncs the image and begins the journal again.
    fn begin_journal(&mut self) -> Result<(), RemoteError> {
        self.checkpoint()?;
        self.at.reached(ReceiverPoint::ImageSynced);
        let header = JournalHeader {
            session: self.session,
            layout: self.layout.clone(),
            base: JournalBase { round: self.held, image: self.kept.number() },
        };
        self.disk = None;
        let (journal, tail) =
            RoundJournal::prepare(&self.journals, &header)?.install(&self.journals)?;
        self.at.reached(ReceiverPoint::NewJournal);
        self.journal = journal;
        self.settled = 0;
        self.start(tail)
    }

    /// Forgets a round that was not ended. All others are durable and applied afterwards.
    pub(super) fn cut(&mut self) -> Result<(), RemoteError> {
        self.blocks = 0;
        self.journal.cut()?;
        self.settle()
    }

    /// Waits until every ended round is durable and applied.
    pub(super) fn settle(&self) -> Result<(), RemoteError> {
        self.disk()?.idle()
    }

    /// Everything is in the image, and the image on the disk, and it says so: the journal is not
    /// needed for any round that it has.
    pub(super) fn checkpoint(&mut self) -> Result<(), RemoteError> {
        self.settle()?;
        Ok(self.kept.checkpoint(self.held)?)
    }

    /// The journal is not needed any more.
    pub(super) fn remove_journal(&self) -> Result<(), RemoteError> {
        self.journals.remove(JOURNAL)?;
        Ok(self.journals.sync()?)
    }

    /// What it is kept in, to be concluded.
    pub(super) fn into_kept(self) -> TwinImage {
        self.kept
    }

    pub(super) fn shape(&self) -> &TwinShape {
        &self.shape
    }

    /// Reads blocks of the twin.
    pub(super) fn read(
        &self,
        region: RegionId,
        first: u64,
        into: &mut [u8],
    ) -> Result<(), RemoteError> {
        self.image.read(into, self.shape.offset(region, first))
    }

    /// The BLAKE3 of a whole region.
    pub(super) fn digest(
        &self,
        region: RegionId,
        stop: &CancelToken,
    ) -> Result<[u8; 32], RemoteError> {
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; HASH];
        let mut at = self.shape.offset(region, 0);
        let end = at + self.layout.region(region).bytes();
        while at < end {
            let len = usize::try_from(end - at).map_or(HASH, |left| left.min(HASH));
            self.image.read(&mut buffer[..len], at)?;
            hasher.update(&buffer[..len]);
            at += len as u64;
            if stop.is_set() {
                return Err(RemoteError::Stopped);
            }
        }
        Ok(*hasher.finalize().as_bytes())
    }
}
