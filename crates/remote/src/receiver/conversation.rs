//! One connection of a session, from its sender's turn to its break or to BYE.

use super::config::ReceiverConfig;
use super::introduction::{refuse, regions};
use super::received_twin::ReceivedTwin;
use super::serving_queue::{IntroductionStep, PendingPeer, ServingQueue};
use super::shared_writer::{SharedWriter, locked};
use crate::RemoteError;
use crate::frames::FrameReader;
use memtwin_replicate::CancelToken;
use memtwin_wire::{BlockAnswer, BlockQuery, Decompressor, FrameKind, WireError, WireMessage};

/// Who and what a sender is served with.
pub(super) struct PeerConversation<'r> {
    pub(super) twin: &'r mut ReceivedTwin,
    pub(super) config: &'r ReceiverConfig,
    pub(super) shared_writer: &'r SharedWriter,
    pub(super) queue: &'r ServingQueue,
    pub(super) stop: &'r CancelToken,
}

impl PeerConversation<'_> {
    /// Serves a caller. `Ok` when the session is over.
    pub(super) fn serve(&mut self, caller: PendingPeer) -> Result<(), RemoteError> {
        let PendingPeer { mut reader, mut writer, session, step, .. } = caller;
        let layout = match step {
            IntroductionStep::Begins(layout) => Ok(layout),
            IntroductionStep::Comes(hello) => self.twin.begin(session).and_then(|holds| {
                regions(&mut reader, &mut writer, &hello, holds, self.config, self.stop)
            }),
        };
        *locked(self.shared_writer) = Some(writer);
        let served = layout.and_then(|layout| {
            self.twin.layout(session, layout)?;
            say(self.shared_writer, &WireMessage::Ready)?;
            self.converse(&mut reader)
        });
        if let Err(error) = &served {
            refuse(error, &mut reader, self.stop, |why| say(self.shared_writer, why));
        }
        served
    }

    fn converse(&mut self, reader: &mut FrameReader) -> Result<(), RemoteError> {
        let (twin, stop) = (&mut *self.twin, self.stop);
        let mut unsqueeze = Decompressor::default();
        loop {
            let kind = reader.next(stop, || ())?;
            // Whoever sends without a pause is not to be heard to the end.
            if stop.is_set() {
                return Err(RemoteError::Stopped);
            }
            twin.check_disk()?;
            match reader.message(kind)? {
                WireMessage::Data(kind, body) => twin.records(unsqueeze.body(kind, body)?)?,
                WireMessage::RoundEnd(round) => {
                    twin.end(round)?;
                    self.queue.know(twin.session());
                }
                WireMessage::Ping(token) => say(self.shared_writer, &WireMessage::Pong(token))?,
                WireMessage::AskDigests(asked) => {
                    let digests = digests(twin, asked, stop)?;
                    let answer = BlockAnswer { asked, bytes: &digests };
                    say(self.shared_writer, &WireMessage::Digests(answer))?;
                }
                WireMessage::Fetch(asked) => {
                    let bytes = fetch(twin, asked)?;
                    say(
                        self.shared_writer,
                        &WireMessage::Bytes(BlockAnswer { asked, bytes: &bytes }),
                    )?;
                }
                WireMessage::Verdict { outcome, reason, digests } => {
                    let digests = digests.as_chunks::<32>().0;
                    let kept = twin.judged(outcome, &reason.to_string(), digests, stop)?;
                    let why = kept.as_ref().err().map_or("", String::as_str).into();
                    say(self.shared_writer, &WireMessage::Confirm { kept: kept.is_ok(), why })?;
                }
                WireMessage::Bye => {
                    return if twin.is_over() {
                        Ok(())
                    } else {
                        Err(RemoteError::order("BYE before a verdict"))
                    };
                }
                WireMessage::Refuse { code, why } => {
                    return Err(RemoteError::Refused { code, why: why.to_string() });
                }
                other => {
                    let expected = "pages, a question or a verdict";
                    return Err(WireError::Unexpected { expected, got: other.kind() }.into());
                }
            }
        }
    }
}

fn say(shared_writer: &SharedWriter, message: &WireMessage<'_>) -> Result<(), RemoteError> {
    match &mut *locked(shared_writer) {
        Some(writer) => writer.send(message),
        None => Err(RemoteError::Closed),
    }
}

fn digests(
    twin: &ReceivedTwin,
    asked: BlockQuery,
    stop: &CancelToken,
) -> Result<Vec<u8>, RemoteError> {
    let whole = twin.settled()?;
    let (region, blocks) = asked.check(whole.shape(), FrameKind::AskDigests)?;
    let block = whole.shape().block(region);
    let mut digests = Vec::with_capacity(asked.count as usize * 32);
    let mut buffer = vec![0; block];
    for chunk in 0..u64::from(asked.count) {
        if stop.is_set() {
            return Err(RemoteError::Stopped);
        }
        let first = chunk * u64::from(asked.each);
        let mut hasher = blake3::Hasher::new();
        for at in first..(first + u64::from(asked.each)).min(blocks) {
            whole.read(region, asked.first + at, &mut buffer)?;
            hasher.update(&buffer);
        }
        digests.extend_from_slice(hasher.finalize().as_bytes());
    }
    Ok(digests)
}

fn fetch(twin: &ReceivedTwin, asked: BlockQuery) -> Result<Vec<u8>, RemoteError> {
    let whole = twin.settled()?;
    let (region, blocks) = asked.check(whole.shape(), FrameKind::Fetch)?;
    // At most 512 KiB of them, by the check.
    let mut bytes = vec![0; blocks as usize * whole.shape().block(region)];
    whole.read(region, asked.first, &mut bytes)?;
    Ok(bytes)
}
