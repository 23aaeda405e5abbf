//! What a frame says, but for the records of DATA.

use crate::bytes::{BodyCursor, put_text, put_varint};
use crate::{FrameKind, HEAD, MOST_BODY, PeerText, Sealer, Versions, WireError};

mod parts;

pub use parts::{
    BlockAnswer, BlockQuery, Hello, JournalBase, RefuseCode, RoundEnd, TwinVerdict, Welcome,
};

const MAGIC: [u8; 8] = *b"MEMTWIN\n";
/// The longest text that a peer may send.
const MOST_TEXT: u64 = 1024;
/// The most digests of one answer.
const MOST_DIGESTS: u32 = 4096;
/// The most bytes of one answer.
const MOST_FETCH: u64 = 512 << 10;
/// The most bytes of the twin that one question may have hashed.
const MOST_DIGESTED: u64 = 256 << 20;
const DIGEST: usize = 32;

/// What a frame says. The bodies of LAYOUT and DATA have readers of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the kinds of docs/wire.md, by name")]
pub enum WireMessage<'a> {
    Hello(Hello),
    Welcome(Welcome),
    Layout(&'a [u8]),
    Ready,
    Data(FrameKind, &'a [u8]),
    RoundEnd(RoundEnd),
    Ack(u32),
    AskDigests(BlockQuery),
    Digests(BlockAnswer<'a>),
    Fetch(BlockQuery),
    Bytes(BlockAnswer<'a>),
    Verdict { outcome: TwinVerdict, reason: PeerText<'a>, digests: &'a [u8] },
    Confirm { kept: bool, why: PeerText<'a> },
    Bye,
    Ping(u64),
    Pong(u64),
    Refuse { code: RefuseCode, why: PeerText<'a> },
    Base(JournalBase),
}

impl<'a> WireMessage<'a> {
    /// The kind of its frame.
    pub fn kind(&self) -> FrameKind {
        match self {
            Self::Hello(_) => FrameKind::Hello,
            Self::Welcome(_) => FrameKind::Welcome,
            Self::Layout(_) => FrameKind::Layout,
            Self::Ready => FrameKind::Ready,
            Self::Data(kind, _) => *kind,
            Self::RoundEnd(_) => FrameKind::RoundEnd,
            Self::Ack(_) => FrameKind::Ack,
            Self::AskDigests(_) => FrameKind::AskDigests,
            Self::Digests(_) => FrameKind::Digests,
            Self::Fetch(_) => FrameKind::Fetch,
            Self::Bytes(_) => FrameKind::Bytes,
            Self::Verdict { .. } => FrameKind::Verdict,
            Self::Confirm { .. } => FrameKind::Confirm,
            Self::Bye => FrameKind::Bye,
            Self::Ping(_) => FrameKind::Ping,
            Self::Pong(_) => FrameKind::Pong,
            Self::Refuse { .. } => FrameKind::Refuse,
            Self::Base(_) => FrameKind::Base,
        }
    }

    /// Its frame, with room for a head that is not sealed yet. A text too long is cut.
    pub fn frame(&self) -> Vec<u8> {
        let mut frame = vec![0; HEAD];
        let into = &mut frame;
        match *self {
            Self::Hello(Hello { versions, session, nonce }) => {
                into.extend_from_slice(&MAGIC);
                into.extend_from_slice(&versions.lowest.to_le_bytes());
                into.extend_from_slice(&versions.highest.to_le_bytes());
                into.extend_from_slice(&session);
                into.extend_from_slice(&nonce);
            }
            Self::Welcome(Welcome { version, nonce, holds }) => {
                into.extend_from_slice(&version.to_le_bytes());
                into.extend_from_slice(&nonce);
                into.push(u8::from(holds.is_some()));
                into.extend_from_slice(&holds.unwrap_or(0).to_le_bytes());
            }
            Self::Layout(body) | Self::Data(_, body) => into.extend_from_slice(body),
            Self::Ready | Self::Bye => {}
            Self::RoundEnd(RoundEnd { round, blocks }) => {
                into.extend_from_slice(&round.to_le_bytes());
                into.extend_from_slice(&blocks.to_le_bytes());
            }
            Self::Ack(round) => into.extend_from_slice(&round.to_le_bytes()),
            Self::AskDigests(asked) | Self::Fetch(asked) => put_asked(into, self.kind(), asked),
            Self::Digests(answer) | Self::Bytes(answer) => {
                put_asked(into, self.kind(), answer.asked);
                into.extend_from_slice(answer.bytes);
            }
            Self::Verdict { outcome, reason, digests } => {
                into.push(outcome as u8);
                put_text(into, shortened(reason.raw()));
                into.extend_from_slice(digests);
            }
            Self::Confirm { kept, why } => {
                into.push(u8::from(!kept));
                put_text(into, shortened(why.raw()));
            }
            Self::Ping(token) | Self::Pong(token) => into.extend_from_slice(&token.to_le_bytes()),
            Self::Refuse { code, why } => {
                into.push(code as u8);
                put_text(into, shortened(why.raw()));
            }
            Self::Base(JournalBase { round, image }) => {
                into.extend_from_slice(&round.to_le_bytes());
                into.extend_from_slice(&image);
            }
        }
        frame
    }

    /// Its frame, sealed.
    pub fn sealed(&self, sealer: &mut Sealer) -> Vec<u8> {
        let mut frame = self.frame();
        sealer.seal(self.kind(), &mut frame);
        frame
    }

    /// Reads the body of a frame of this kind.
    pub fn read(kind: FrameKind, body: &'a [u8]) -> Result<Self, WireError> {
        let mut cursor = BodyCursor::new(name(kind), body);
        let this = match kind {
            FrameKind::Hello => {
                let magic = cursor.array()?;
                if magic != MAGIC {
                    return Err(WireError::Magic(magic));
                }
                let versions = Versions { lowest: cursor.u16()?, highest: cursor.u16()? };
                Self::Hello(Hello { versions, session: cursor.array()?, nonce: cursor.array()? })
            }
            FrameKind::Welcome => {
                let (version, nonce) = (cursor.u16()?, cursor.array()?);
                let (holds, round) = (bit("whether a round is held", cursor.u8()?)?, cursor.u32()?);
                Self::Welcome(Welcome { version, nonce, holds: holds.then_some(round) })
            }
            FrameKind::Layout => return Ok(Self::Layout(body)),
            FrameKind::Data | FrameKind::DataLz4 | FrameKind::DataZstd => {
                return Ok(Self::Data(kind, body));
            }
            FrameKind::Ready => Self::Ready,
            FrameKind::Bye => Self::Bye,
            FrameKind::RoundEnd => {
                Self::RoundEnd(RoundEnd { round: cursor.u32()?, blocks: cursor.u64()? })
            }
            FrameKind::Ack => Self::Ack(cursor.u32()?),
            FrameKind::AskDigests => Self::AskDigests(asked(&mut cursor, kind)?),
            FrameKind::Fetch => Self::Fetch(asked(&mut cursor, kind)?),
            FrameKind::Digests | FrameKind::Bytes => {
                let asked = asked(&mut cursor, kind)?;
                let bytes = cursor.take(cursor_left(&cursor, body))?;
                let answer = BlockAnswer { asked, bytes };
                if kind == FrameKind::Bytes {
                    Self::Bytes(answer)
                } else if bytes.len() == asked.count as usize * DIGEST {
                    Self::Digests(answer)
                } else {
                    let (what, got) = ("the bytes of digests", bytes.len() as u64);
                    return Err(WireError::Range { what, got, expected: "32 for each asked for" });
                }
            }
            FrameKind::Verdict => {
                let outcome = match cursor.u8()? {
                    0 => TwinVerdict::Identical,
                    1 => TwinVerdict::Differs,
                    2 => TwinVerdict::Inconclusive,
                    got => {
                        let (what, got) = ("a verdict", got.into());
                        return Err(WireError::Range { what, got, expected: "0, 1 or 2" });
                    }
                };
                let reason = cursor.text("the reason", MOST_TEXT)?.into();
                let digests = cursor.take(cursor_left(&cursor, body))?;
                if digests.len() % DIGEST != 0 {
                    let (what, got) = ("the bytes of digests", digests.len() as u64);
                    return Err(WireError::Range { what, got, expected: "a multiple of 32" });
                }
                Self::Verdict { outcome, reason, digests }
            }
            FrameKind::Confirm => {
                let kept = !bit("whether it was kept", cursor.u8()?)?;
                Self::Confirm { kept, why: cursor.text("the reason", MOST_TEXT)?.into() }
            }
            FrameKind::Ping => Self::Ping(cursor.u64()?),
            FrameKind::Pong => Self::Pong(cursor.u64()?),
            FrameKind::Refuse => {
                let code = cursor.u8()?;
                let known = RefuseCode::ALL.into_iter().find(|&known| known as u8 == code);
                let (what, expected) = ("a refusal's code", "1 to 9");
                let range = WireError::Range { what, got: code.into(), expected };
                let code = known.ok_or(range)?;
                Self::Refuse { code, why: cursor.text("the reason", MOST_TEXT)?.into() }
            }
            FrameKind::Base => {
                Self::Base(JournalBase { round: cursor.u32()?, image: cursor.array()? })
            }
        };
        cursor.end()?;
        Ok(this)
    }
}

fn cursor_left(cursor: &BodyCursor<'_>, body: &[u8]) -> u64 {
    (body.len() - cursor.at()) as u64
}

fn put_asked(into: &mut Vec<u8>, kind: FrameKind, asked: BlockQuery) {
    put_varint(into, asked.region);
    into.extend_from_slice(&asked.first.to_le_bytes());
    if matches!(kind, FrameKind::AskDigests | FrameKind::Digests) {
        into.extend_from_slice(&asked.each.to_le_bytes());
    }
    into.extend_from_slice(&asked.count.to_le_bytes());
}

fn asked(cursor: &mut BodyCursor<'_>, kind: FrameKind) -> Result<BlockQuery, WireError> {
    let (region, first) = (cursor.varint()?, cursor.u64()?);
    let digests = matches!(kind, FrameKind::AskDigests | FrameKind::Digests);
    let each = if digests { cursor.u32()? } else { 1 };
    Ok(BlockQuery { region, first, each, count: cursor.u32()? })
}

fn bit(what: &'static str, byte: u8) -> Result<bool, WireError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        got => Err(WireError::Range { what, got: got.into(), expected: "0 or 1" }),
    }
}

fn shortened(text: &str) -> &str {
    let mut end = text.len().min(MOST_TEXT as usize);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn name(kind: FrameKind) -> &'static str {
    match kind {
        FrameKind::Hello => "a HELLO",
        FrameKind::Welcome => "a WELCOME",
        FrameKind::RoundEnd => "a ROUND-END",
        FrameKind::Ack => "an ACK",
        FrameKind::Verdict => "a VERDICT",
        FrameKind::Refuse => "a REFUSE",
        FrameKind::AskDigests | FrameKind::Fetch => "a question",
        FrameKind::Digests | FrameKind::Bytes => "an answer",
        _ => "a frame",
    }
}

/// A frame holds the longest answer.
const _: () = assert!(MOST_DIGESTS as usize * DIGEST + 64 <= MOST_BODY as usize);
const _: () = assert!(MOST_FETCH + 64 <= MOST_BODY as u64);

#[cfg(test)]
mod tests;
