//! One connection of a session, from WELCOME to its break or to BYE.

use super::door::Caller;
use super::keep::Keep;
use super::{Config, Outlet, locked};
use crate::RemoteError;
use crate::frames::FrameReader;
use memtwin_replicate::Stop;
use memtwin_wire::{
    Answer, Asked, Key, Kind, Message, Unsqueeze, Versions, Welcome, WireError, decode_layout,
    negotiate,
};
use std::time::{Duration, Instant};

/// How long a refused peer is given to read why.
const PARTING: Duration = Duration::from_millis(500);

/// Serves a caller. `Ok` when the session is over.
pub(super) fn serve(
    keep: &mut Keep,
    config: &Config,
    outlet: &Outlet,
    caller: Caller,
    stop: &Stop,
) -> Result<(), RemoteError> {
    let Caller { mut reader, writer, hello, .. } = caller;
    *locked(outlet) = Some(writer);
    let served = converse(keep, config, outlet, &mut reader, &hello, stop);
    if let Err(error) = &served
        && let Some(code) = error.code()
    {
        let why = error.to_string();
        say(outlet, &Message::Refuse { code, why: &why })
            .map(|()| part(&mut reader, stop))
            // Who does not listen is not told.
            .unwrap_or_default();
    }
    served
}

/// Lets the peer read what was said last, before the socket is closed under it.
fn part(reader: &mut FrameReader, stop: &Stop) {
    let until = Instant::now() + PARTING;
    // Damaged or not, whatever comes is let go.
    while Instant::now() < until && reader.drain(stop) {}
}

fn say(outlet: &Outlet, message: &Message<'_>) -> Result<(), RemoteError> {
    match &mut *locked(outlet) {
        Some(writer) => writer.send(message),
        None => Err(RemoteError::Closed),
    }
}

fn converse(
    keep: &mut Keep,
    config: &Config,
    outlet: &Outlet,
    reader: &mut FrameReader,
    hello: &memtwin_wire::Hello,
    stop: &Stop,
) -> Result<(), RemoteError> {
    let version = negotiate(Versions::OURS, hello.versions)?;
    let holds = keep.begin(hello.session)?;
    let nonce = match config.nonce {
        Some(nonce) => nonce,
        None => crate::sender::nonce()?,
    };
    say(outlet, &Message::Welcome(Welcome { version, nonce, holds }))?;
    let key = Key::of_connection(&hello.session, &hello.nonce, &nonce);
    reader.rekey(key);
    if let Some(writer) = &mut *locked(outlet) {
        writer.rekey(key);
    }
    // Until the sender has room made for its pages.
    loop {
        let kind = reader.next(stop, || ())?;
        match reader.message(kind)? {
            Message::Layout(body) => {
                let layout = decode_layout(body)?;
                keep.layout(hello.session, layout)?;
                reader.known();
                say(outlet, &Message::Ready)?;
                break;
            }
            Message::Ping(token) => {
                // A guest may take a while to make; its sender has introduced itself.
                reader.known();
                say(outlet, &Message::Pong(token))?;
            }
            other => {
                return Err(WireError::Unexpected { expected: "LAYOUT", got: other.kind() }.into());
            }
        }
    }
    let mut unsqueeze = Unsqueeze::default();
    loop {
        let kind = reader.next(stop, || ())?;
        match reader.message(kind)? {
            Message::Data(kind, body) => keep.records(unsqueeze.body(kind, body)?)?,
            Message::RoundEnd(round) => keep.end(round)?,
            Message::Ping(token) => say(outlet, &Message::Pong(token))?,
            Message::AskDigests(asked) => {
                let digests = digests(keep, asked)?;
                say(outlet, &Message::Digests(Answer { asked, bytes: &digests }))?;
            }
            Message::Fetch(asked) => {
                let bytes = fetch(keep, asked)?;
                say(outlet, &Message::Bytes(Answer { asked, bytes: &bytes }))?;
            }
            Message::Verdict { outcome, reason, digests } => {
                let kept = keep.judged(outcome, reason, digests.as_chunks::<32>().0)?;
                let why = kept.as_ref().err().map_or("", String::as_str);
                say(outlet, &Message::Confirm { kept: kept.is_ok(), why })?;
            }
            Message::Bye => {
                return if keep.is_over() {
                    Ok(())
                } else {
                    Err(RemoteError::order("BYE before a verdict"))
                };
            }
            Message::Refuse { code, why } => {
                return Err(RemoteError::Refused { code, why: why.to_owned() });
            }
            other => {
                let expected = "pages, a question or a verdict";
                return Err(WireError::Unexpected { expected, got: other.kind() }.into());
            }
        }
    }
}

fn digests(keep: &Keep, asked: Asked) -> Result<Vec<u8>, RemoteError> {
    let whole = keep.settled()?;
    let (region, blocks) = asked.check(whole.shape(), Kind::AskDigests)?;
    let block = whole.shape().block(region);
    let mut digests = Vec::with_capacity(asked.count as usize * 32);
    let mut buffer = vec![0; block];
    for chunk in 0..u64::from(asked.count) {
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

fn fetch(keep: &Keep, asked: Asked) -> Result<Vec<u8>, RemoteError> {
    let whole = keep.settled()?;
    let (region, blocks) = asked.check(whole.shape(), Kind::Fetch)?;
    // At most 512 KiB of them, by the check.
    let mut bytes = vec![0; blocks as usize * whole.shape().block(region)];
    whole.read(region, asked.first, &mut bytes)?;
    Ok(bytes)
}
