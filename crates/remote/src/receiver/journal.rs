//! The journal: the rounds since the image was last known to be whole on the disk.
//!
//! A redo log of frames, docs/wire.md. What it holds are new values, so that applying a round
//! twice, or one that the image has already, does no harm.

use super::image::Image;
use super::place::Place;
use super::written::Written;
use crate::RemoteError;
use memtwin_pages::Layout;
use memtwin_wire::{
    Base, Direction, Hello, Inbox, Key, Kind, Message, Opener, Records, Round, Sealer, Shape,
    Versions, WireError, decode_layout, encode_layout,
};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

const MAGIC: &[u8] = b"memtwin journal 1\n";
pub(super) const JOURNAL: &str = ".journal";
const NEW: &str = ".journal.new";
/// How much is gathered before it is written.
const GATHER: usize = 256 << 10;

/// A journal that is written.
#[derive(Debug)]
pub(super) struct Journal {
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
pub(super) struct Header {
    pub(super) session: [u8; 16],
    pub(super) layout: Layout,
    pub(super) base: Base,
}

/// What a killed receiver has left.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) journal: Journal,
    pub(super) tail: Tail,
    pub(super) header: Header,
    /// The last whole round.
    pub(super) round: u32,
}

/// A journal that is on the disk and has not its name yet.
#[derive(Debug)]
pub(super) struct Prepared {
    journal: Journal,
    tail: Tail,
}

impl Prepared {
    /// Puts it in the place of the one before. Returns what reads it, too.
    pub(super) fn install(self, place: &Place) -> Result<(Journal, Tail), RemoteError> {
        place.rename(NEW, JOURNAL)?;
        place.sync()?;
        Ok((self.journal, self.tail))
    }
}

impl Journal {
    /// Begins a journal, on the disk, beside the one that is there.
    pub(super) fn prepare(place: &Place, header: &Header) -> Result<Prepared, RemoteError> {
        let file = place.create(NEW)?;
        let path = place.path(JOURNAL);
        let key = Key::of_journal(&header.session);
        let mut sealer = Sealer::new(key, Direction::FromSender);
        let mut bytes = MAGIC.to_vec();
        let mut layout = Vec::new();
        encode_layout(&header.layout, &mut layout)?;
        let (session, nonce) = (header.session, [0; 16]);
        let hello = Hello { versions: Versions::OURS, session, nonce };
        // The first frame names the session from which the key of the others comes.
        let mut opening = Sealer::new(Key::OPENING, Direction::FromSender);
        bytes.extend(Message::Hello(hello).sealed(&mut opening));
        for message in [Message::Layout(&layout), Message::Base(header.base)] {
            bytes.extend(message.sealed(&mut sealer));
        }
        let failed = |errno| RemoteError::Disk { doing: "write", path: path.clone(), errno };
        file.write_all_at(&bytes, 0).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        let end = bytes.len() as u64;
        let tail = Tail::new(file.try_clone().map_err(failed)?, path.clone(), end, key);
        let whole = (end, sealer.clone());
        let journal = Self { file, path, sealer, gathered: Vec::new(), end, whole };
        Ok(Prepared { journal, tail })
    }

    /// Reads what was left, and cuts off what is not a whole round. `None`: there is
    /// none.
    pub(super) fn find(place: &Place) -> Result<Option<Left>, RemoteError> {
        let Some(file) = place.open(JOURNAL)? else { return Ok(None) };
        let path = place.path(JOURNAL);
        // One of ours got its name when its header was on the disk.
        let Some((header, mut walk)) = Walk::open(&file)? else {
            let what = "it is no journal of memtwin; move it away";
            return Err(RemoteError::Path { path, what });
        };
        let shape = Shape::of(&header.layout);
        let begin = walk.at;
        let (mut round, mut whole) = (header.base.round, (walk.at, walk.frames));
        // Up to the first thing that is not right: that is where the receiver died.
        while let Some(kind) = walk.next()? {
            match Message::read(kind, walk.inbox.body()) {
                Ok(Message::Data(Kind::Data, body)) if Records::check(body, &shape).is_ok() => {}
                Ok(Message::RoundEnd(end)) if end.round > round => {
                    round = end.round;
                    whole = (walk.at, walk.frames);
                }
                _ => break,
            }
        }
        let failed = |errno| RemoteError::Disk { doing: "cut", path: path.clone(), errno };
        let (end, frames) = whole;
        file.set_len(end).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        let key = Key::of_journal(&header.session);
        let sealer = Sealer::after(frames, key, Direction::FromSender);
        let tail = Tail::new(file.try_clone().map_err(failed)?, path.clone(), begin, key);
        let whole = (end, sealer.clone());
        let journal = Self { file, path, sealer, gathered: Vec::new(), end, whole };
        Ok(Some(Left { journal, tail, header, round }))
    }

    fn failed(&self, doing: &'static str, errno: io::Error) -> RemoteError {
        RemoteError::Disk { doing, path: self.path.clone(), errno }
    }

    /// Adds the records of a round that is not over.
    pub(super) fn records(&mut self, body: &[u8]) -> Result<(), RemoteError> {
        self.frame(&Message::Data(Kind::Data, body))
    }

    /// Ends a round. Returns where it ends.
    pub(super) fn round(&mut self, round: Round) -> Result<u64, RemoteError> {
        self.frame(&Message::RoundEnd(round))?;
        self.write()?;
        self.whole = (self.end, self.sealer.clone());
        Ok(self.end)
    }

    /// Forgets what came of a round that is not over.
    pub(super) fn cut(&mut self) -> Result<(), RemoteError> {
        self.gathered.clear();
        (self.end, self.sealer) = self.whole.clone();
        self.file.set_len(self.end).map_err(|errno| self.failed("cut", errno))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.end
    }

    /// Another handle, to be synced.
    pub(super) fn handle(&self) -> Result<File, RemoteError> {
        self.file.try_clone().map_err(|errno| self.failed("duplicate", errno))
    }

    fn frame(&mut self, message: &Message<'_>) -> Result<(), RemoteError> {
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

/// A walk through a journal's frames.
struct Walk<'f> {
    file: &'f File,
    inbox: Inbox,
    read: u64,
    /// Where the frame ends that was taken last.
    at: u64,
    /// How many frames of the journal's key were taken.
    frames: u64,
}

impl<'f> Walk<'f> {
    /// Reads the header. `None`: this is no journal of ours, or a torn one.
    fn open(file: &'f File) -> Result<Option<(Header, Self)>, RemoteError> {
        let mut magic = [0; MAGIC.len()];
        let at = MAGIC.len() as u64;
        if file.read_exact_at(&mut magic, 0).is_err() || magic != MAGIC {
            return Ok(None);
        }
        let opener = Opener::new(Key::OPENING, Direction::FromSender);
        let mut walk = Self { file, inbox: Inbox::new(opener), read: at, at, frames: 0 };
        let Some(Kind::Hello) = walk.next()? else { return Ok(None) };
        let Ok(Message::Hello(hello)) = Message::read(Kind::Hello, walk.inbox.body()) else {
            return Ok(None);
        };
        let opener = Opener::new(Key::of_journal(&hello.session), Direction::FromSender);
        (walk.inbox, walk.read, walk.frames) = (Inbox::new(opener), walk.at, 0);
        let Some(Kind::Layout) = walk.next()? else { return Ok(None) };
        let Ok(layout) = decode_layout(walk.inbox.body()) else { return Ok(None) };
        let Some(Kind::Base) = walk.next()? else { return Ok(None) };
        let Ok(Message::Base(base)) = Message::read(Kind::Base, walk.inbox.body()) else {
            return Ok(None);
        };
        Ok(Some((Header { session: hello.session, layout, base }, walk)))
    }

    /// The next frame. `None`: there is none, or it is torn.
    fn next(&mut self) -> Result<Option<Kind>, RemoteError> {
        loop {
            let before = self.inbox.taken();
            match self.inbox.take_frame() {
                Ok(Some(kind)) => {
                    self.at += self.inbox.taken() - before;
                    self.frames += 1;
                    return Ok(Some(kind));
                }
                Ok(None) => {}
                Err(_) => return Ok(None),
            }
            let bytes = self.file.read_at(self.inbox.space(), self.read)?;
            if bytes == 0 {
                return Ok(None);
            }
            self.read += bytes as u64;
            self.inbox.filled(bytes);
        }
    }
}

/// What reads a journal behind its writer, and applies whole rounds to the image.
#[derive(Debug)]
pub(super) struct Tail {
    file: File,
    path: PathBuf,
    at: u64,
    inbox: Inbox,
}

impl Tail {
    fn new(file: File, path: PathBuf, at: u64, key: Key) -> Self {
        let mut opener = Opener::new(key, Direction::FromSender);
        opener.skip(HEADER_FRAMES);
        Self { file, path, at, inbox: Inbox::new(opener) }
    }

    /// Applies everything up to `end`, which is a round's. `half` is called in the middle of each
    /// frame's records.
    pub(super) fn apply(
        &mut self,
        end: u64,
        shape: &Shape,
        image: &Image,
        written: &mut Written,
        half: &dyn Fn(),
    ) -> Result<(), RemoteError> {
        let path = &self.path;
        let failed = |errno| RemoteError::Disk { doing: "read back", path: path.clone(), errno };
        image.check_length()?;
        loop {
            match self.inbox.take_frame()? {
                Some(Kind::Data) => {
                    for (i, record) in Records::check(self.inbox.body(), shape)?.enumerate() {
                        if i == 1 {
                            half();
                        }
                        image.apply(&record, shape, written)?;
                    }
                }
                Some(Kind::RoundEnd) => {}
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
