//! The journal: the rounds since the image was last known to be whole on the disk.
//!
//! A redo log of frames, docs/wire.md. What it holds are new values, so that applying a round
//! twice, or one that the image has already, does no harm.

#[cfg(test)]
mod tests;
mod walk;

use super::nonzero_blocks::NonzeroBlocks;
use super::received_image::ReceivedImage;
use crate::RemoteError;
use memtwin_pages::Layout;
use memtwin_twin::TwinPath;
use memtwin_wire::{
    Direction, FrameKind, Hello, Inbox, JournalBase, Opener, PageRecords, RoundEnd, SealKey,
    Sealer, TwinShape, Versions, WireError, WireMessage, encode_layout,
};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use walk::{JournalWalk, MAGIC, is_of_version_1};

pub(super) const JOURNAL: &str = ".journal";
const NEW: &str = ".journal.new";
/// How much is gathered before it is written.
const GATHER: usize = 256 << 10;

/// A journal that is written.
#[derive(Debug)]
pub(super) struct RoundJournal {
    file: File,
    path: PathBuf,
    sealer: Sealer,
    gathered: Vec<u8>,
    /// Where the gathered bytes go.
    end: u64,
    /// What a broken round is cut back to.
    whole: (u64, Sealer),
}

/// Whose journal it is, and of which image.
#[derive(Debug)]
pub(super) struct JournalHeader {
    pub(super) session: [u8; 16],
    pub(super) layout: Layout,
    pub(super) base: JournalBase,
}

/// A journal that a killed receiver has left, as it was found: nothing of it is changed yet.
#[derive(Debug)]
pub(super) struct FoundJournal {
    pub(super) header: JournalHeader,
    /// The last whole round.
    pub(super) round: u32,
    file: File,
    path: PathBuf,
    /// Where its first round begins.
    begin: u64,
    /// Where its last whole round ends, and how many frames there are up to there.
    whole: (u64, u64),
}

/// What a killed receiver has left.
#[derive(Debug)]
pub(super) struct RecoveredJournal {
    pub(super) journal: RoundJournal,
    pub(super) tail: JournalReader,
    pub(super) header: JournalHeader,
    /// The last whole round.
    pub(super) round: u32,
}

/// A journal that is on the disk and has not its name yet.
#[derive(Debug)]
pub(super) struct PreparedJournal {
    journal: RoundJournal,
    tail: JournalReader,
}

impl PreparedJournal {
    /// Puts it in the place of the one before. Returns what reads it, too.
    pub(super) fn install(
        self,
        place: &TwinPath,
    ) -> Result<(RoundJournal, JournalReader), RemoteError> {
        place.rename("replace", NEW, JOURNAL)?;
        place.sync()?;
        Ok((self.journal, self.tail))
    }
}

impl RoundJournal {
    /// Begins a journal, on the disk, beside the one that is there.
    pub(super) fn prepare(
        place: &TwinPath,
        header: &JournalHeader,
    ) -> Result<PreparedJournal, RemoteError> {
        let file = place.create(NEW)?;
        let path = place.path(JOURNAL);
        let key = SealKey::of_journal(&header.session);
        let mut sealer = Sealer::new(key, Direction::FromSender);
        let mut bytes = MAGIC.to_vec();
        let mut layout = Vec::new();
        encode_layout(&header.layout, &mut layout)?;
        let (session, nonce) = (header.session, [0; 16]);
        let hello = Hello { versions: Versions::OURS, session, nonce };
        // The first frame names the session from which the key of the others comes.
        let mut opening = Sealer::new(SealKey::OPENING, Direction::FromSender);
        bytes.extend(WireMessage::Hello(hello).sealed(&mut opening));
        for message in [WireMessage::Layout(&layout), WireMessage::Base(header.base)] {
            bytes.extend(message.sealed(&mut sealer));
        }
        let failed = |errno| RemoteError::Disk { doing: "write", path: path.clone(), errno };
        file.write_all_at(&bytes, 0).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        let end = bytes.len() as u64;
        let tail = JournalReader::new(file.try_clone().map_err(failed)?, path.clone(), end, key);
        let whole = (end, sealer.clone());
        let journal = Self { file, path, sealer, gathered: Vec::new(), end, whole };
        Ok(PreparedJournal { journal, tail })
    }

    /// Reads what was left. `None`: there is none.
    pub(super) fn find(place: &TwinPath) -> Result<Option<FoundJournal>, RemoteError> {
        let Some(file) = place.open(JOURNAL)? else { return Ok(None) };
        let path = place.path(JOURNAL);
        // One of ours got its name when its header was on the disk.
        let Some((header, mut walk)) = JournalWalk::open(&file)? else {
            let what = if is_of_version_1(&file) {
                "it was begun by an earlier memtwin; let that one go on with it, or move it away"
            } else {
                "it is no journal of memtwin; move it away"
            };
            return Err(RemoteError::Path { path, what });
        };
        let shape = TwinShape::of(&header.layout);
        let begin = walk.at;
        let (mut round, mut whole) = (header.base.round, (walk.at, walk.frames));
        // Up to the first thing that is not right: that is where the receiver died.
        while let Some(kind) = walk.next()? {
            match WireMessage::read(kind, walk.inbox.body()) {
                Ok(WireMessage::Data(FrameKind::Data, body))
                    if PageRecords::check(body, &shape).is_ok() => {}
                Ok(WireMessage::RoundEnd(end)) if end.round > round => {
                    round = end.round;
                    whole = (walk.at, walk.frames);
                }
                _ => break,
            }
        }
        Ok(Some(FoundJournal { header, round, file, path, begin, whole }))
    }

    fn failed(&self, doing: &'static str, errno: io::Error) -> RemoteError {
        RemoteError::Disk { doing, path: self.path.clone(), errno }
    }

    /// Adds the records of a round that is not over.
    pub(super) fn records(&mut self, body: &[u8]) -> Result<(), RemoteError> {
        self.frame(&WireMessage::Data(FrameKind::Data, body))
    }

    /// Ends a round. Returns where it ends.
    pub(super) fn round(&mut self, round: RoundEnd) -> Result<u64, RemoteError> {
        self.frame(&WireMessage::RoundEnd(round))?;
        self.write()?;
        self.whole = (self.end, self.sealer.clone());
        Ok(self.end)
    }

    /// Forgets what came of a round that is not over.
    pub(super) fn cut(&mut self) -> Result<(), RemoteError> {
        self.gathered.clear();
        (self.end, self.sealer) = self.whole.clone();
        self.file.set_len(self.end).map_err(|errno| self.failed("cut", errno))?;
        // On the disk too, before frames of the same numbers come to the same place: a power loss
        // could mix the two, each of them whole.
        self.file.sync_data().map_err(|errno| self.failed("cut", errno))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.end
    }

    /// Another handle, to be synced.
    pub(super) fn handle(&self) -> Result<File, RemoteError> {
        self.file.try_clone().map_err(|errno| self.failed("duplicate", errno))
    }

    fn frame(&mut self, message: &WireMessage<'_>) -> Result<(), RemoteError> {
        let frame = message.sealed(&mut self.sealer);
        self.gathered.extend_from_slice(&frame);
        if self.gathered.len() >= GATHER { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), RemoteError> {
        self.file
            .write_all_at(&self.gathered, self.end)
            .map_err(|errno| self.failed("write", errno))?;
        self.end += self.gathered.len() as u64;
        self.gathered.clear();
        Ok(())
    }
}

impl FoundJournal {
    /// Whether there is anything in it beside the round that its image had already.
    pub(super) fn has_rounds(&self) -> bool {
        self.whole.0 > self.begin
    }

    /// Cuts off what is not a whole round, to go on with it.
    pub(super) fn open(self) -> Result<RecoveredJournal, RemoteError> {
        let Self { header, round, file, path, begin, whole: (end, frames) } = self;
        let failed = |errno| RemoteError::Disk { doing: "cut", path: path.clone(), errno };
        file.set_len(end).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        let key = SealKey::of_journal(&header.session);
        let sealer = Sealer::after(frames, key, Direction::FromSender);
        let tail = JournalReader::new(file.try_clone().map_err(failed)?, path.clone(), begin, key);
        let whole = (end, sealer.clone());
        let journal = RoundJournal { file, path, sealer, gathered: Vec::new(), end, whole };
        Ok(RecoveredJournal { journal, tail, header, round })
    }
}

/// What reads a journal behind its writer, and applies whole rounds to the image.
#[derive(Debug)]
pub(super) struct JournalReader {
    file: File,
    path: PathBuf,
    at: u64,
    inbox: Inbox,
}

impl JournalReader {
    fn new(file: File, path: PathBuf, at: u64, key: SealKey) -> Self {
        let mut opener = Opener::new(key, Direction::FromSender);
        opener.skip(HEADER_FRAMES);
        Self { file, path, at, inbox: Inbox::new(opener) }
    }

    /// Applies everything up to `end`, which is a round's. `half` is called in the middle of each
    /// frame's records.
    pub(super) fn apply(
        &mut self,
        end: u64,
        shape: &TwinShape,
        image: &ReceivedImage,
        written: &mut NonzeroBlocks,
        half: &dyn Fn(),
    ) -> Result<(), RemoteError> {
        let path = &self.path;
        let failed = |errno| RemoteError::Disk { doing: "read back", path: path.clone(), errno };
        image.check_length()?;
        loop {
            match self.inbox.take_frame()? {
                Some(FrameKind::Data) => {
                    for (i, record) in PageRecords::check(self.inbox.body(), shape)?.enumerate() {
                        if i == 1 {
                            half();
                        }
                        image.apply(&record, shape, written)?;
                    }
                }
                Some(FrameKind::RoundEnd) => {}
                Some(got) => return Err(WireError::Unexpected { expected: "DATA", got }.into()),
                None if self.at == end => return Ok(()),
                None => {
                    let left = usize::try_from(end - self.at).unwrap_or(usize::MAX);
                    let space = self.inbox.space();
                    let len = space.len().min(left);
                    self.file.read_exact_at(&mut space[..len], self.at).map_err(failed)?;
                    self.inbox.filled(len);
                    self.at += len as u64;
                }
            }
        }
    }
}

/// LAYOUT and BASE.
const HEADER_FRAMES: u64 = 2;
