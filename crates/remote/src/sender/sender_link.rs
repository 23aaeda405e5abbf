//! One connection, from HELLO to its break: a writer for whoever sends, a thread that hears.

use super::{SenderConfig, nonce};
use crate::RemoteError;
use crate::dial::dial;
use crate::frames::{FrameReader, FrameWriter};
use crate::stream::StreamCloser;
use memtwin_replicate::CancelToken;
use memtwin_wire::{Direction, FrameKind, Hello, SealKey, Versions, WireError, WireMessage};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often an idle side gives a sign of life.
const SIGN: Duration = Duration::from_secs(1);

/// A connection whose other end has welcomed us.
pub(super) struct SenderLink {
    writer: Arc<Mutex<FrameWriter>>,
    heard: Arc<HeardAnswers>,
    closer: StreamCloser,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for SenderLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SenderLink {{ acked: {:?} }}", self.acked())
    }
}

/// What the thread has heard.
#[derive(Default)]
struct HeardAnswers {
    state: Mutex<AnswerState>,
    changed: Condvar,
}

#[derive(Default)]
struct AnswerState {
    acked: Option<u32>,
    answers: VecDeque<(FrameKind, Vec<u8>)>,
    /// Why nothing more will be heard. It stays, for everyone who asks.
    broken: Option<Arc<RemoteError>>,
}

impl AnswerState {
    fn check(&self) -> Result<(), RemoteError> {
        match &self.broken {
            Some(error) => Err(RemoteError::Final(Arc::clone(error))),
            None => Ok(()),
        }
    }
}

impl HeardAnswers {
    fn lock(&self) -> MutexGuard<'_, AnswerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock(writer: &Mutex<FrameWriter>) -> MutexGuard<'_, FrameWriter> {
    writer.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SenderLink {
    /// Calls, and says what there is to say. Returns which round the receiver holds, too.
    pub(super) fn make(
        config: &SenderConfig,
        session: &[u8; 16],
        layout: Option<&[u8]>,
        stop: &CancelToken,
    ) -> Result<(Self, Option<u32>), RemoteError> {
        let stream = dial(&config.target, &config.security, (&config.ssh, config.ssh_said), stop)?;
        let closer = stream.closer.clone();
        let made = Self::welcomed(config, session, stream, stop).and_then(|(mut link, held)| {
            if let Some(layout) = layout {
                link.introduce(layout, stop)?;
            }
            Ok((link, held))
        });
        if made.is_err() {
            closer.close();
        }
        made
    }

    fn welcomed(
        config: &SenderConfig,
        session: &[u8; 16],
        stream: crate::PeerStream,
        stop: &CancelToken,
    ) -> Result<(Self, Option<u32>), RemoteError> {
        let patience = config.patience;
        let mut reader = FrameReader::new(stream.read, Direction::FromReceiver, patience);
        let mut writer =
            FrameWriter::new(stream.write, Direction::FromSender, patience, stop.clone());
        let hello = Hello { versions: Versions::OURS, session: *session, nonce: nonce()? };
        writer.send(&WireMessage::Hello(hello))?;
        let kind = reader.next(stop, || ())?;
        let welcome = match reader.message(kind)? {
            WireMessage::Welcome(welcome) => welcome,
            WireMessage::Refuse { code, why } => {
                return Err(RemoteError::Refused { code, why: why.to_string() });
            }
            other => {
                let expected = "WELCOME";
                return Err(WireError::Unexpected { expected, got: other.kind() }.into());
            }
        };
        let ours = Versions::OURS;
        if !(ours.lowest..=ours.highest).contains(&welcome.version) {
            let (theirs_low, theirs_high) = (welcome.version, welcome.version);
            return Err(WireError::Version {
                ours_low: ours.lowest,
                ours_high: ours.highest,
                theirs_low,
                theirs_high,
            }
            .into());
        }
        let key = SealKey::of_connection(session, &hello.nonce, &welcome.nonce);
        reader.rekey(key);
        reader.known();
        writer.rekey(key);
        writer.limit(config.bandwidth);
        writer.keepalive(reader.pulse());
        let held = welcome.holds;
        let heard = Arc::new(HeardAnswers::default());
        heard.lock().acked = held;
        let writer = Arc::new(Mutex::new(writer));
        let (for_thread, to_thread, stops) =
            (Arc::clone(&heard), Arc::clone(&writer), stop.clone());
        let thread = thread::Builder::new()
            .name("receiver's answers".to_owned())
            .spawn(move || hear(&mut reader, &for_thread, &to_thread, &stops))?;
        Ok((Self { writer, heard, closer: stream.closer, thread: Some(thread) }, held))
    }

    /// Says what the regions are, and waits until there is room for them.
    pub(super) fn introduce(
        &mut self,
        layout: &[u8],
        stop: &CancelToken,
    ) -> Result<(), RemoteError> {
        self.ask(&WireMessage::Layout(layout), FrameKind::Ready, stop).map(|_| ())
    }

    pub(super) fn send(&mut self, message: &WireMessage<'_>) -> Result<(), RemoteError> {
        self.check()?;
        lock(&self.writer).send(message).map_err(|error| self.why(error))
    }

    pub(super) fn send_frame(
        &mut self,
        kind: FrameKind,
        frame: &mut [u8],
    ) -> Result<(), RemoteError> {
        self.check()?;
        lock(&self.writer).send_frame(kind, frame).map_err(|error| self.why(error))
    }

    /// Says something and waits for an answer of this kind.
    pub(super) fn ask(
        &mut self,
        message: &WireMessage<'_>,
        expected: FrameKind,
        stop: &CancelToken,
    ) -> Result<Vec<u8>, RemoteError> {
        self.send(message)?;
        loop {
            let mut state = self.heard.lock();
            if let Some((got, body)) = state.answers.pop_front() {
                if got == expected {
                    return Ok(body);
                }
                return Err(WireError::Unexpected { expected: "an answer", got }.into());
            }
            state.check()?;
            drop(self.heard.changed.wait_timeout(state, Duration::from_millis(200)));
            if stop.is_set() {
                return Err(RemoteError::Stopped);
            }
        }
    }

    /// Waits until another round than this is acknowledged, or a moment.
    pub(super) fn wait(&self, before: Option<u32>, stop: &CancelToken) -> Result<(), RemoteError> {
        let state = self.heard.lock();
        state.check()?;
        let (state, _) = self
            .heard
            .changed
            .wait_timeout_while(state, Duration::from_millis(200), |state| {
                state.acked == before && state.broken.is_none()
            })
            .unwrap_or_else(PoisonError::into_inner);
        state.check()?;
        drop(state);
        if stop.is_set() { Err(RemoteError::Stopped) } else { Ok(()) }
    }

    /// The last round that was acknowledged.
    pub(super) fn acked(&self) -> Option<u32> {
        self.heard.lock().acked
    }

    pub(super) fn sent_in(&self) -> (u64, Duration) {
        lock(&self.writer).sent()
    }

    fn check(&self) -> Result<(), RemoteError> {
        self.heard.lock().check()
    }

    /// The receiver's own reason, if it gave one before it hung up.
    fn why(&self, error: RemoteError) -> RemoteError {
        if !matches!(error, RemoteError::Broken(_) | RemoteError::Closed) {
            return error;
        }
        let state = self.heard.lock();
        let (state, _) = self
            .heard
            .changed
            .wait_timeout_while(state, Duration::from_millis(500), |state| state.broken.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        match state.check() {
            Err(said) if matches!(said.root(), RemoteError::Refused { .. }) => said,
            _ => error,
        }
    }
}

impl Drop for SenderLink {
    fn drop(&mut self) {
        self.closer.close();
        if let Some(thread) = self.thread.take() {
            // It has nothing more to say.
            let _ = thread.join();
        }
    }
}

/// Hears until the connection breaks.
fn hear(
    reader: &mut FrameReader,
    heard: &HeardAnswers,
    writer: &Mutex<FrameWriter>,
    stop: &CancelToken,
) {
    let mut signed = Instant::now();
    loop {
        let told = reader.next(stop, || {
            if signed.elapsed() >= SIGN {
                signed = Instant::now();
                // Who is sending right now needs no other sign, and what is wrong shows elsewhere.
                if let Ok(mut writer) = writer.try_lock() {
                    let _ = writer.send(&WireMessage::Ping(0));
                }
            }
        });
        let told = told.and_then(|kind| understand(reader, kind, heard));
        if let Err(error) = told {
            // A stop is seen by whoever waits, and breaks nothing: the verdict may still be told.
            if matches!(error, RemoteError::Stopped) {
                return;
            }
            heard.lock().broken = Some(Arc::new(error));
            heard.changed.notify_all();
            return;
        }
    }
}

fn understand(
    reader: &FrameReader,
    kind: FrameKind,
    heard: &HeardAnswers,
) -> Result<(), RemoteError> {
    match reader.message(kind)? {
        WireMessage::Ack(round) => {
            let mut state = heard.lock();
            state.acked = state.acked.max(Some(round));
        }
        WireMessage::Pong(_) => return Ok(()),
        WireMessage::Ready
        | WireMessage::Digests(_)
        | WireMessage::Bytes(_)
        | WireMessage::Confirm { .. } => {
            heard.lock().answers.push_back((kind, reader.body().to_vec()));
        }
        WireMessage::Refuse { code, why } => {
            return Err(RemoteError::Refused { code, why: why.to_string() });
        }
        other => {
            let expected = "an acknowledgement or an answer";
            return Err(WireError::Unexpected { expected, got: other.kind() }.into());
        }
    }
    heard.changed.notify_all();
    Ok(())
}
