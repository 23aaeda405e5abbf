//! A peer that says whatever a test wants it to, frame by frame, with sums that are right unless it
//! is told otherwise.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

use memtwin_wire::{
    Direction, FrameKind, HEAD, Hello, Inbox, Opener, SealKey, Sealer, Versions, Welcome,
    WireMessage,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a test waits for what must come.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A peer.
pub(crate) struct SocketPeer {
    pub(crate) socket: TcpStream,
    sealer: Sealer,
    inbox: Inbox,
    pub(crate) session: [u8; 16],
    since: Instant,
}

impl SocketPeer {
    pub(crate) fn calls(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket.set_write_timeout(Some(LIMIT)).unwrap();
        let session = std::array::from_fn(|_| fastrand::u8(..));
        let inbox = Inbox::new(Opener::new(SealKey::OPENING, Direction::FromReceiver));
        Self {
            socket,
            sealer: Sealer::new(SealKey::OPENING, Direction::FromSender),
            inbox,
            session,
            since: Instant::now(),
        }
    }

    /// Bytes as they are. The receiver may have hung up already.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes);
    }

    pub(crate) fn frame(&mut self, kind: FrameKind, body: &[u8]) -> Vec<u8> {
        let mut frame = [&[0; HEAD][..], body].concat();
        self.sealer.seal(kind, &mut frame);
        frame
    }

    pub(crate) fn send(&mut self, kind: FrameKind, body: &[u8]) {
        let frame = self.frame(kind, body);
        self.raw(&frame);
    }

    pub(crate) fn say(&mut self, message: &WireMessage<'_>) {
        let frame = message.sealed(&mut self.sealer);
        self.raw(&frame);
    }

    /// The next frame; `None` when the receiver has hung up.
    pub(crate) fn hear(&mut self) -> Option<(FrameKind, Vec<u8>)> {
        loop {
            // A receiver that only gives signs of life has not hung up either.
            assert!(self.since.elapsed() < LIMIT, "the receiver does not hang up");
            if let Some(kind) = self.inbox.take_frame().unwrap() {
                return Some((kind, self.inbox.body().to_vec()));
            }
            match self.socket.read(self.inbox.space()) {
                Ok(0) => return None,
                Ok(bytes) => self.inbox.filled(bytes),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("the receiver neither answers nor hangs up: {error}"),
            }
        }
    }

    /// Whether a frame of this kind comes before the receiver hangs up.
    pub(crate) fn hears(&mut self, wanted: FrameKind) -> bool {
        while let Some((kind, _)) = self.hear() {
            if kind == wanted {
                return true;
            }
        }
        false
    }

    /// Waits until the receiver has hung up.
    pub(crate) fn until_dropped(mut self) {
        while self.hear().is_some() {}
    }

    /// HELLO, and WELCOME with its new key.
    pub(crate) fn hello(&mut self) {
        let nonce = [7; 16];
        let hello = Hello { versions: Versions::OURS, session: self.session, nonce };
        self.say(&WireMessage::Hello(hello));
        let (kind, body) = self.hear().unwrap();
        let Ok(WireMessage::Welcome(Welcome { nonce: theirs, .. })) =
            WireMessage::read(kind, &body)
        else {
            panic!("{kind:?} in place of WELCOME")
        };
        let key = SealKey::of_connection(&self.session, &nonce, &theirs);
        self.sealer.rekey(key);
        self.inbox.rekey(key);
    }

    /// Up to READY.
    pub(crate) fn begin(&mut self, layout: &[u8]) {
        self.hello();
        self.send(FrameKind::Layout, layout);
        assert!(self.hears(FrameKind::Ready));
    }
}

/// A LEB128 number.
pub(crate) fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// The body of a LAYOUT, whatever it says.
pub(crate) fn layout(regions: &[(&[u8], u64, u8, u64)]) -> Vec<u8> {
    let mut body = varint(regions.len() as u64);
    for (name, gpa, shift, pages) in regions {
        body.extend(varint(name.len() as u64));
        body.extend_from_slice(name);
        body.extend_from_slice(&gpa.to_le_bytes());
        body.push(*shift);
        body.extend_from_slice(&pages.to_le_bytes());
    }
    body
}

/// A record, whatever it says.
pub(crate) fn record(tag: u8, numbers: &[u64], bytes: &[u8]) -> Vec<u8> {
    let mut record = vec![tag];
    numbers.iter().for_each(|&number| record.extend(varint(number)));
    record.extend_from_slice(bytes);
    record
}

/// A record of this many whole pages of 4 KiB.
pub(crate) fn full(first: u64, count: u32) -> Vec<u8> {
    let pages = vec![0x5a; count as usize * 4096];
    record(1, &[0, first], &[&count.to_le_bytes()[..], &pages].concat())
}

/// A ROUND-END.
pub(crate) fn round_end(round: u32, blocks: u64) -> Vec<u8> {
    [&round.to_le_bytes()[..], &blocks.to_le_bytes()].concat()
}
