//! Frames in and out of a stream, with patience that ends.

use crate::RemoteError;
use crate::allowance::{PeerAllowance, RemainingAllowance};
use crate::stream::{POLL_INTERVAL, is_tick};
use memtwin_replicate::CancelToken;
use memtwin_wire::{Direction, FrameKind, Inbox, Opener, SealKey, Sealer, WireMessage};
use std::fmt;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long to wait for a peer that says nothing, or takes nothing. Both sides send a sign of life
/// each second.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// How much is written at once: where a limit holds, the unit in which it is kept.
const PIECE: usize = 64 << 10;

/// When the peer was last heard: who hears it tells who waits for it to take something.
#[derive(Clone, Debug)]
pub(crate) struct ReadPulse(Arc<Mutex<Instant>>);

impl ReadPulse {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn since(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

/// Frames from the peer.
pub(crate) struct FrameReader {
    read: Box<dyn Read + Send>,
    pulse: ReadPulse,
    inbox: Inbox,
    patience: Duration,
    /// What the peer may still say before it is known.
    left: Option<RemainingAllowance>,
}

impl FrameReader {
    pub(crate) fn new(read: Box<dyn Read + Send>, from: Direction, patience: Duration) -> Self {
        let inbox = Inbox::new(Opener::new(SealKey::OPENING, from));
        let mut this = Self { read, pulse: ReadPulse::new(), inbox, patience, left: None };
        this.allow(PeerAllowance::OPENING, patience);
        this
    }

    pub(crate) fn rekey(&mut self, key: SealKey) {
        self.inbox.rekey(key);
    }

    /// Tells a writer to the same peer when it is heard.
    pub(crate) fn pulse(&self) -> ReadPulse {
        self.pulse.clone()
    }

    /// The peer may say so much from now on, within a time.
    pub(crate) fn allow(&mut self, allowance: PeerAllowance, within: Duration) {
        self.inbox.expect_at_most(allowance.body);
        self.left = Some(RemainingAllowance::new(allowance, within));
    }

    /// The peer has introduced itself: from now on only silence ends the wait.
    pub(crate) fn known(&mut self) {
        self.inbox.expect_at_most(memtwin_wire::MOST_BODY);
        self.left = None;
    }

    /// Waits for the next frame; `tick` is called now and then meanwhile. Returns its kind.
    ///
    /// Errors: the stream ended, or is damaged, or the peer said nothing for too long.
    pub(crate) fn next(
        &mut self,
        stop: &CancelToken,
        mut tick: impl FnMut(),
    ) -> Result<FrameKind, RemoteError> {
        let (mut heard, mut came) = (Instant::now(), false);
        loop {
            if let Some(kind) = self.inbox.take_frame()? {
                if let Some(left) = &mut self.left {
                    left.take(1, 0)?;
                }
                return Ok(kind);
            }
            if let Some(left) = &self.left
                && left.is_over()
            {
                return Err(left.late());
            }
            // A peer that sends byte after byte is never waited for.
            if came && stop.is_set() {
                return Err(RemoteError::Stopped);
            }
            match self.read.read(self.inbox.space()) {
                Ok(0) => return Err(RemoteError::Closed),
                Ok(bytes) => {
                    if let Some(left) = &mut self.left {
                        left.take(0, bytes as u64)?;
                    }
                    self.inbox.filled(bytes);
                    came = true;
                    self.pulse.beat();
                    heard = Instant::now();
                }
                Err(error) if is_tick(&error) => {
                    if stop.is_set() {
                        return Err(RemoteError::Stopped);
                    }
                    if heard.elapsed() >= self.patience {
                        return Err(RemoteError::Silent(self.patience));
                    }
                    tick();
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Throws away what comes. Whether more may come.
    pub(crate) fn drain(&mut self, stop: &CancelToken) -> bool {
        let mut waste = [0; 4096];
        match self.read.read(&mut waste) {
            Ok(bytes) => bytes > 0,
            Err(error) => is_tick(&error) && !stop.is_set(),
        }
    }

    /// The body of the frame that came last.
    pub(crate) fn body(&self) -> &[u8] {
        self.inbox.body()
    }

    /// The frame that came last, understood.
    pub(crate) fn message(&self, kind: FrameKind) -> Result<WireMessage<'_>, RemoteError> {
        Ok(WireMessage::read(kind, self.inbox.body())?)
    }
}

/// Frames to the peer.
pub(crate) struct FrameWriter {
    write: Box<dyn Write + Send>,
    sealer: Sealer,
    patience: Duration,
    stop: CancelToken,
    limit: Option<RateLimit>,
    pulse: Option<ReadPulse>,
    sent: u64,
    writing: Duration,
}

impl fmt::Debug for FrameWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameWriter {{ sent: {} }}", self.sent)
    }
}

impl FrameWriter {
    pub(crate) fn new(
        write: Box<dyn Write + Send>,
        from: Direction,
        patience: Duration,
        stop: CancelToken,
    ) -> Self {
        let sealer = Sealer::new(SealKey::OPENING, from);
        let (sent, writing) = (0, Duration::ZERO);
        Self { write, sealer, patience, stop, limit: None, pulse: None, sent, writing }
    }

    pub(crate) fn rekey(&mut self, key: SealKey) {
        self.sealer.rekey(key);
    }

    /// From now on a peer that takes nothing is borne with as long as it is heard: its disk may be
    /// slow.
    pub(crate) fn keepalive(&mut self, pulse: ReadPulse) {
        self.pulse = Some(pulse);
    }

    /// From now on no faster than this many bytes a second.
    pub(crate) fn limit(&mut self, bytes_per_second: Option<u64>) {
        self.limit = bytes_per_second.map(RateLimit::new);
    }

    /// How many bytes were sent, and how long the stream took to take them.
    pub(crate) fn sent(&self) -> (u64, Duration) {
        (self.sent, self.writing)
    }

    pub(crate) fn send(&mut self, message: &WireMessage<'_>) -> Result<(), RemoteError> {
        let frame = message.sealed(&mut self.sealer);
        self.push(&frame)
    }

    /// Seals a frame and sends it.
    pub(crate) fn send_frame(
        &mut self,
        kind: FrameKind,
        frame: &mut [u8],
    ) -> Result<(), RemoteError> {
        self.sealer.seal(kind, frame);
        self.push(frame)
    }

    fn push(&mut self, frame: &[u8]) -> Result<(), RemoteError> {
        let began = Instant::now();
        for piece in frame.chunks(if self.limit.is_some() { PIECE } else { frame.len() }) {
            if let Some(limit) = &mut self.limit
                && self.stop.wait(limit.take(piece.len()))
            {
                return Err(RemoteError::Stopped);
            }
            push(&mut self.write, piece, self.patience, &self.stop, self.pulse.as_ref())?;
        }
        self.sent += frame.len() as u64;
        self.writing += began.elapsed();
        Ok(())
    }
}

/// Writes all of it, for as long as the peer takes some of it now and then.
pub(crate) fn push(
    to: &mut (impl Write + ?Sized),
    mut bytes: &[u8],
    patience: Duration,
    stop: &CancelToken,
    pulse: Option<&ReadPulse>,
) -> Result<(), RemoteError> {
    let began = Instant::now();
    let mut taken = began;
    loop {
        // When all is written, what the writer still holds has to go.
        let done =
            if bytes.is_empty() { to.flush().map(|()| None) } else { to.write(bytes).map(Some) };
        match done {
            Ok(None) => return Ok(()),
            Ok(Some(0)) => return Err(RemoteError::Closed),
            Ok(Some(written)) => {
                bytes = &bytes[written..];
                taken = Instant::now();
                // A peer that takes byte after byte is never waited for.
                let endless =
                    pulse.is_none() && began.elapsed() >= POLL_INTERVAL && !bytes.is_empty();
                if endless && stop.is_set() {
                    return Err(RemoteError::Stopped);
                }
            }
            Err(error) if is_tick(&error) => {
                if stop.is_set() {
                    return Err(RemoteError::Stopped);
                }
                let heard = pulse.map_or(Duration::MAX, ReadPulse::since);
                if taken.elapsed().min(heard) >= patience {
                    return Err(RemoteError::Stuck(patience));
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// A token bucket: this many bytes a second, and at most a tenth of a second's worth at once.
struct RateLimit {
    per_second: f64,
    /// What may be sent now; below zero it is owed.
    credit: f64,
    at: Instant,
}

impl RateLimit {
    fn new(bytes_per_second: u64) -> Self {
        Self { per_second: bytes_per_second.max(1) as f64, credit: 0.0, at: Instant::now() }
    }

    /// Takes this many bytes; returns how long to wait before they are sent.
    fn take(&mut self, bytes: usize) -> Duration {
        let now = Instant::now();
        let earned = now.duration_since(self.at).as_secs_f64() * self.per_second;
        self.at = now;
        self.credit = (self.credit + earned).min(self.per_second / 10.0) - bytes as f64;
        Duration::try_from_secs_f64(-self.credit / self.per_second).unwrap_or(Duration::ZERO)
    }
}
