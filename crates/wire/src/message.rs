//! What a frame says, but for the records of DATA.

use crate::bytes::{Cursor, put_text, put_varint};
use crate::{HEAD, Kind, MOST_BODY, Sealer, Text, Versions, WireError};

mod parts;

pub use parts::{Answer, Asked, Base, Hello, Outcome, RefuseCode, Round, Welcome};

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
pub enum Message<'a> {
    Hello(Hello),
    Welcome(Welcome),
    Layout(&'a [u8]),
    Ready,
    Data(Kind, &'a [u8]),
    RoundEnd(Round),
    Ack(u32),
    AskDigests(Asked),
    Digests(Answer<'a>),
    Fetch(Asked),
    Bytes(Answer<'a>),
    Verdict { outcome: Outcome, reason: Text<'a>, digests: &'a [u8] },
    Confirm { kept: bool, why: Text<'a> },
    Bye,
    Ping(u64),
    Pong(u64),
    Refuse { code: RefuseCode, why: Text<'a> },
    Base(Base),
}

impl<'a> Message<'a> {
    /// The kind of its frame.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Hello(_) => Kind::Hello,
            Self::Welcome(_) => Kind::Welcome,
            Self::Layout(_) => Kind::Layout,
            Self::Ready => Kind::Ready,
            Self::Data(kind, _) => *kind,
            Self::RoundEnd(_) => Kind::RoundEnd,
            Self::Ack(_) => Kind::Ack,
            Self::AskDigests(_) => Kind::AskDigests,
            Self::Digests(_) => Kind::Digests,
            Self::Fetch(_) => Kind::Fetch,
            Self::Bytes(_) => Kind::Bytes,
            Self::Verdict { .. } => Kind::Verdict,
            Self::Confirm { .. } => Kind::Confirm,
            Self::Bye => Kind::Bye,
            Self::Ping(_) => Kind::Ping,
            Self::Pong(_) => Kind::Pong,
            Self::Refuse { .. } => Kind::Refuse,
            Self::Base(_) => Kind::Base,
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
            Self::RoundEnd(Round { round, blocks }) => {
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
            Self::Base(Base { round, image }) => {
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
    pub fn read(kind: Kind, body: &'a [u8]) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(name(kind), body);
        let this = match kind {
            Kind::Hello => {
                let magic = cursor.array()?;
                if magic != MAGIC {
                    return Err(WireError::Magic(magic));
                }
                let versions = Versions { lowest: cursor.u16()?, highest: cursor.u16()? };
                Self::Hello(Hello { versions, session: cursor.array()?, nonce: cursor.array()? })
            }
            Kind::Welcome => {
                let (version, nonce) = (cursor.u16()?, cursor.array()?);
                let (holds, round) = (bit("whether a round is held", cursor.u8()?)?, cursor.u32()?);
                Self::Welcome(Welcome { version, nonce, holds: holds.then_some(round) })
            }
            Kind::Layout => return Ok(Self::Layout(body)),
            Kind::Data | Kind::DataLz4 | Kind::DataZstd => return Ok(Self::Data(kind, body)),
            Kind::Ready => Self::Ready,
            Kind::Bye => Self::Bye,
            Kind::RoundEnd => Self::RoundEnd(Round { round: cursor.u32()?, blocks: cursor.u64()? }),
            Kind::Ack => Self::Ack(cursor.u32()?),
            Kind::AskDigests => Self::AskDigests(asked(&mut cursor, kind)?),
            Kind::Fetch => Self::Fetch(asked(&mut cursor, kind)?),
            Kind::Digests | Kind::Bytes => {
                let asked = asked(&mut cursor, kind)?;
                let bytes = cursor.take(cursor_left(&cursor, body))?;
                let answer = Answer { asked, bytes };
                if kind == Kind::Bytes {
                    Self::Bytes(answer)
                } else if bytes.len() == asked.count as usize * DIGEST {
                    Self::Digests(answer)
                } else {
                    let (what, got) = ("the bytes of digests", bytes.len() as u64);
                    return Err(WireError::Range { what, got, expected: "32 for each asked for" });
                }
            }
            Kind::Verdict => {
                let outcome = match cursor.u8()? {
                    0 => Outcome::Identical,
                    1 => Outcome::Differs,
                    2 => Outcome::Inconclusive,
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
            Kind::Confirm => {
                let kept = !bit("whether it was kept", cursor.u8()?)?;
                Self::Confirm { kept, why: cursor.text("the reason", MOST_TEXT)?.into() }
            }
            Kind::Ping => Self::Ping(cursor.u64()?),
            Kind::Pong => Self::Pong(cursor.u64()?),
            Kind::Refuse => {
                let code = cursor.u8()?;
                let known = RefuseCode::ALL.into_iter().find(|&known| known as u8 == code);
                let (what, expected) = ("a refusal's code", "1 to 9");
                let range = WireError::Range { what, got: code.into(), expected };
                let code = known.ok_or(range)?;
                Self::Refuse { code, why: cursor.text("the reason", MOST_TEXT)?.into() }
            }
            Kind::Base => Self::Base(Base { round: cursor.u32()?, image: cursor.array()? }),
        };
        cursor.end()?;
        Ok(this)
    }
}

fn cursor_left(cursor: &Cursor<'_>, body: &[u8]) -> u64 {
    (body.len() - cursor.at()) as u64
}

fn put_asked(into: &mut Vec<u8>, kind: Kind, asked: Asked) {
    put_varint(into, asked.region);
    into.extend_from_slice(&asked.first.to_le_bytes());
    if matches!(kind, Kind::AskDigests | Kind::Digests) {
        into.extend_from_slice(&asked.each.to_le_bytes());
    }
    into.extend_from_slice(&asked.count.to_le_bytes());
}

fn asked(cursor: &mut Cursor<'_>, kind: Kind) -> Result<Asked, WireError> {
    let (region, first) = (cursor.varint()?, cursor.u64()?);
    let digests = matches!(kind, Kind::AskDigests | Kind::Digests);
    let each = if digests { cursor.u32()? } else { 1 };
    Ok(Asked { region, first, each, count: cursor.u32()? })
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

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Hello => "a HELLO",
        Kind::Welcome => "a WELCOME",
        Kind::RoundEnd => "a ROUND-END",
        Kind::Ack => "an ACK",
        Kind::Verdict => "a VERDICT",
        Kind::Refuse => "a REFUSE",
        Kind::AskDigests | Kind::Fetch => "a question",
        Kind::Digests | Kind::Bytes => "an answer",
        _ => "a frame",
    }
}

/// A frame holds the longest answer.
const _: () = assert!(MOST_DIGESTS as usize * DIGEST + 64 <= MOST_BODY as usize);
const _: () = assert!(MOST_FETCH + 64 <= MOST_BODY as u64);

#[cfg(test)]
mod tests;
