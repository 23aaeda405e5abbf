//! What is said before pages are: HELLO and WELCOME, signs of life, LAYOUT. All of it is bounded in
//! frames, bytes and time.

use super::config::ReceiverConfig;
use crate::RemoteError;
use crate::allowance::PeerAllowance;
use crate::frames::{FrameReader, FrameWriter};
use memtwin_pages::Layout;
use memtwin_replicate::CancelToken;
use memtwin_wait::Deadline;
use memtwin_wire::{
    FrameKind, Hello, SealKey, Versions, Welcome, WireError, WireMessage, decode_layout, negotiate,
};
use std::time::Duration;

/// How long a refused peer is given to read why.
const PARTING: Duration = Duration::from_millis(500);

/// Hears a stranger's HELLO. It is sent nothing before.
pub(super) fn hello(reader: &mut FrameReader, stop: &CancelToken) -> Result<Hello, RemoteError> {
    let expected = "HELLO";
    match reader.next(stop, || ())? {
        kind @ FrameKind::Hello => match reader.message(kind)? {
            WireMessage::Hello(hello) => Ok(hello),
            other => Err(WireError::Unexpected { expected, got: other.kind() }.into()),
        },
        got => Err(WireError::Unexpected { expected, got }.into()),
    }
}

/// Says WELCOME and hears what the sender's regions are, which may take it a while.
pub(super) fn regions(
    reader: &mut FrameReader,
    writer: &mut FrameWriter,
    hello: &Hello,
    holds: Option<u32>,
    config: &ReceiverConfig,
    stop: &CancelToken,
) -> Result<Layout, RemoteError> {
    let version = negotiate(Versions::OURS, hello.versions)?;
    let nonce = match config.nonce {
        Some(nonce) => nonce,
        None => crate::sender::nonce()?,
    };
    writer.send(&WireMessage::Welcome(Welcome { version, nonce, holds }))?;
    let key = SealKey::of_connection(&hello.session, &hello.nonce, &nonce);
    reader.rekey(key);
    writer.rekey(key);
    reader.allow(PeerAllowance::INTRODUCTION, config.introduction);
    loop {
        let kind = reader.next(stop, || ())?;
        match reader.message(kind)? {
            WireMessage::Layout(body) => {
                let layout = decode_layout(body)?;
                reader.known();
                return Ok(layout);
            }
            WireMessage::Ping(token) => writer.send(&WireMessage::Pong(token))?,
            other => {
                return Err(WireError::Unexpected { expected: "LAYOUT", got: other.kind() }.into());
            }
        }
    }
}

/// Tells a peer why it is refused, if it is to be told, and lets it read that before the socket is
/// closed under it.
pub(super) fn refuse(
    error: &RemoteError,
    reader: &mut FrameReader,
    stop: &CancelToken,
    say: impl FnOnce(&WireMessage<'_>) -> Result<(), RemoteError>,
) {
    let Some(code) = error.code() else { return };
    let why = error.to_string();
    // Who does not listen is not told.
    if say(&WireMessage::Refuse { code, why: why.as_str().into() }).is_ok() {
        let deadline = Deadline::after(PARTING);
        // Damaged or not, whatever comes is let go.
        while !deadline.is_over() && reader.drain(stop) {}
    }
}
