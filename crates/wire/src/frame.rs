//! The frame: its head, its two sums, its number.

use crate::WireError;

/// How many bytes a frame's head has.
pub const HEAD: usize = 24;

/// The longest body.
pub const MOST_BODY: u32 = 1 << 20;

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the sender to the receiver.
    FromSender,
    /// From the receiver to the sender.
    FromReceiver,
}

/// What kind of frame: see docs/wire.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "each is described in docs/wire.md, by this name")]
pub enum FrameKind {
    Hello = 0x01,
    Welcome = 0x02,
    Layout = 0x03,
    Ready = 0x04,
    Data = 0x10,
    DataLz4 = 0x11,
    DataZstd = 0x12,
    RoundEnd = 0x14,
    Ack = 0x15,
    AskDigests = 0x20,
    Digests = 0x21,
    Fetch = 0x22,
    Bytes = 0x23,
    Verdict = 0x30,
    Confirm = 0x31,
    Bye = 0x3f,
    Ping = 0x40,
    Pong = 0x41,
    Refuse = 0x50,
    Base = 0x70,
}

impl FrameKind {
    /// Every kind.
    pub const ALL: [Self; 20] = [
        Self::Hello,
        Self::Welcome,
        Self::Layout,
        Self::Ready,
        Self::Data,
        Self::DataLz4,
        Self::DataZstd,
        Self::RoundEnd,
        Self::Ack,
        Self::AskDigests,
        Self::Digests,
        Self::Fetch,
        Self::Bytes,
        Self::Verdict,
        Self::Confirm,
        Self::Bye,
        Self::Ping,
        Self::Pong,
        Self::Refuse,
        Self::Base,
    ];

    fn from_byte(byte: u8) -> Result<Self, WireError> {
        let found = Self::ALL.into_iter().find(|&kind| kind as u8 == byte);
        found.ok_or(WireError::UnknownKind(byte))
    }
}

/// What both ends of a connection know and no frame holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SealKey([u8; 16]);

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

impl SealKey {
    /// That of HELLO and WELCOME, before there is another.
    pub const OPENING: Self = Self([0; 16]);

    /// That of one connection of a session.
    pub fn of_connection(session: &[u8; 16], sender: &[u8; 16], receiver: &[u8; 16]) -> Self {
        Self::derive("memtwin wire 2026 connection", &[session, sender, receiver])
    }

    /// That of a session's journal.
    pub fn of_journal(session: &[u8; 16]) -> Self {
        Self::derive("memtwin wire 2026 journal", &[session])
    }

    fn derive(context: &str, parts: &[&[u8; 16]]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        for part in parts {
            hasher.update(*part);
        }
        let mut key = [0; 16];
        key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(key)
    }

    /// Where the sums of this key and direction begin.
    fn seed(self, direction: Direction) -> u32 {
        let letter = match direction {
            Direction::FromSender => b'S',
            Direction::FromReceiver => b'R',
        };
        crc32c::crc32c_append(crc32c::crc32c(&self.0), &[letter])
    }
}

/// Makes frames of one direction of a connection, or of a journal.
#[derive(Clone, Debug)]
pub struct Sealer {
    direction: Direction,
    seed: u32,
    next: u64,
}

impl Sealer {
    /// One that has made no frame yet.
    pub fn new(key: SealKey, direction: Direction) -> Self {
        Self { direction, seed: key.seed(direction), next: 0 }
    }

    /// One that goes on after this many frames.
    pub fn after(made: u64, key: SealKey, direction: Direction) -> Self {
        Self { next: made, ..Self::new(key, direction) }
    }

    /// From the next frame on with another key. The numbers go on.
    pub fn rekey(&mut self, key: SealKey) {
        self.seed = key.seed(self.direction);
    }

    /// Completes a frame: its first [`HEAD`] bytes are overwritten, the others are the body.
    ///
    /// Panics if it is shorter than a head or its body longer than [`MOST_BODY`].
    pub fn seal(&mut self, kind: FrameKind, frame: &mut [u8]) {
        let (head, body) = frame.split_at_mut(HEAD);
        assert!(body.len() <= MOST_BODY as usize, "a body of {} bytes", body.len());
        head[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
        head[4..8].copy_from_slice(&[kind as u8, 0, 0, 0]);
        head[8..16].copy_from_slice(&self.next.to_le_bytes());
        head[16..20].copy_from_slice(&crc32c::crc32c_append(self.seed, body).to_le_bytes());
        let sum = crc32c::crc32c_append(self.seed, &head[..20]);
        head[20..].copy_from_slice(&sum.to_le_bytes());
        self.next += 1;
    }
}

/// A head that was checked. Its body is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    kind: FrameKind,
    len: u32,
    sum: u32,
}

impl FrameHead {
    /// The kind of the frame.
    pub fn kind(&self) -> FrameKind {
        self.kind
    }

    /// How many bytes its body has, [`MOST_BODY`] at most.
    pub fn body_len(&self) -> usize {
        self.len as usize
    }
}

/// Checks the frames of one direction of a connection, or of a journal.
#[derive(Clone, Debug)]
pub struct Opener {
    direction: Direction,
    seed: u32,
    next: u64,
}

impl Opener {
    /// One that has seen no frame yet.
    pub fn new(key: SealKey, direction: Direction) -> Self {
        Self { direction, seed: key.seed(direction), next: 0 }
    }

    /// From the next frame on with another key. The numbers go on.
    pub fn rekey(&mut self, key: SealKey) {
        self.seed = key.seed(self.direction);
    }

    /// Goes on as if it had seen this many frames more.
    pub fn skip(&mut self, frames: u64) {
        self.next += frames;
    }

    /// Checks a head. Its length may be believed then.
    pub fn head(&self, bytes: &[u8; HEAD]) -> Result<FrameHead, WireError> {
        let u32_at = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        self.sum("head", &bytes[..20], u32_at(20))?;
        let (len, reserved) = (u32_at(0), u32_at(4) >> 8);
        let number = u64::from(u32_at(8)) | u64::from(u32_at(12)) << 32;
        if number != self.next {
            return Err(WireError::Sequence { expected: self.next, got: number });
        }
        if reserved != 0 {
            return Err(WireError::NotZero(reserved));
        }
        if len > MOST_BODY {
            return Err(WireError::TooLong { got: len, most: MOST_BODY });
        }
        Ok(FrameHead { kind: FrameKind::from_byte(bytes[4])?, len, sum: u32_at(16) })
    }

    /// Checks the body of that head, which is then done with.
    pub fn body(&mut self, head: &FrameHead, body: &[u8]) -> Result<(), WireError> {
        self.sum("body", body, head.sum)?;
        self.next += 1;
        Ok(())
    }

    fn sum(&self, part: &'static str, bytes: &[u8], got: u32) -> Result<(), WireError> {
        let expected = crc32c::crc32c_append(self.seed, bytes);
        if got == expected {
            return Ok(());
        }
        Err(WireError::Sum { sequence: self.next, part, expected, got })
    }
}

#[cfg(test)]
mod tests;
