//! Frames from a stream of bytes that comes in pieces.

use crate::{FrameHead, FrameKind, HEAD, MOST_BODY, Opener, SealKey, WireError};
use std::ops::Range;

/// What a stranger may make us hold.
const SMALL: usize = 4 << 10;
/// What a peer whose data comes may.
const LARGE: usize = HEAD + MOST_BODY as usize;

/// Bytes that have come in, until they are frames. Holds one frame at most, and what comes with it.
#[derive(Debug)]
pub struct Inbox {
    opener: Opener,
    /// The longest body that may come now.
    most: u32,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    head: Option<FrameHead>,
    /// Where the body of the frame lies that was taken last.
    body: Range<usize>,
    /// How many bytes were taken as frames.
    taken: u64,
}

impl Inbox {
    /// An empty one. It checks frames with this opener.
    pub fn new(opener: Opener) -> Self {
        Self {
            opener,
            most: MOST_BODY,
            buffer: vec![0; SMALL],
            start: 0,
            end: 0,
            head: None,
            body: 0..0,
            taken: 0,
        }
    }

    /// From the next frame on with another key. The numbers go on.
    pub fn rekey(&mut self, key: SealKey) {
        self.opener.rekey(key);
    }

    /// From the next frame on with bodies of at most `most` bytes: a head that claims more is refused
    /// before room is made for it.
    pub fn expect_at_most(&mut self, most: u32) {
        self.most = most.min(MOST_BODY);
    }

    /// How many bytes the frames had that were taken so far.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Room for more bytes, never empty. Tell how many came by [`Inbox::filled`].
    pub fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        let needed = HEAD + self.head.map_or(0, |head| head.body_len());
        // Room is made only for a length whose head was checked.
        if needed > self.buffer.len() {
            self.buffer.resize(LARGE, 0);
        }
        if self.start > 0 && self.start + needed > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.buffer[self.end..]
    }

    /// This many bytes were put into the space.
    pub fn filled(&mut self, bytes: usize) {
        self.end = (self.end + bytes).min(self.buffer.len());
    }

    /// Takes the next frame, if all of it has come: its kind. [`Inbox::body`] is its body.
    pub fn take_frame(&mut self) -> Result<Option<FrameKind>, WireError> {
        let held = &self.buffer[self.start..self.end];
        let head = match self.head {
            Some(head) => head,
            None => match held.first_chunk::<HEAD>() {
                Some(bytes) => {
                    let head = self.opener.head(bytes)?;
                    let got = head.body_len() as u32;
                    if got > self.most {
                        return Err(WireError::TooLong { got, most: self.most });
                    }
                    *self.head.insert(head)
                }
                None => return Ok(None),
            },
        };
        let len = HEAD + head.body_len();
        let Some(frame) = held.get(..len) else { return Ok(None) };
        self.opener.body(&head, &frame[HEAD..])?;
        self.body = self.start + HEAD..self.start + len;
        self.start += len;
        self.taken += len as u64;
        self.head = None;
        Ok(Some(head.kind()))
    }

    /// The body of the frame that was taken last; it is there until more bytes come in.
    pub fn body(&self) -> &[u8] {
        &self.buffer[self.body.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Direction, Sealer};
    use proptest::prelude::*;

    type Frames = Vec<(FrameKind, Vec<u8>)>;

    fn stream(frames: &Frames) -> Vec<u8> {
        let mut sealer = Sealer::new(SealKey::OPENING, Direction::FromSender);
        let mut stream = Vec::new();
        for (kind, body) in frames {
            let mut frame = [&[0; HEAD][..], body].concat();
            sealer.seal(*kind, &mut frame);
            stream.extend(frame);
        }
        stream
    }

    /// Reads a stream that comes in pieces of these lengths, again and again.
    fn read(stream: &[u8], pieces: &[usize]) -> (Frames, Option<WireError>) {
        let mut inbox = Inbox::new(Opener::new(SealKey::OPENING, Direction::FromSender));
        let (mut frames, mut rest) = (Frames::new(), stream);
        let mut pieces = pieces.iter().cycle();
        loop {
            match inbox.take_frame() {
                Ok(Some(kind)) => frames.push((kind, inbox.body().to_vec())),
                Ok(None) if rest.is_empty() => return (frames, None),
                Ok(None) => {
                    let space = inbox.space();
                    assert!(!space.is_empty());
                    let len = space.len().min(rest.len()).min(*pieces.next().unwrap());
                    space[..len].copy_from_slice(&rest[..len]);
                    rest = &rest[len..];
                    inbox.filled(len);
                }
                Err(error) => return (frames, Some(error)),
            }
        }
    }

    fn frames() -> impl Strategy<Value = Frames> {
        let body = prop_oneof![
            5 => prop::collection::vec(any::<u8>(), 0..60),
            1 => (0usize..40_000).prop_map(|len| vec![7; len]),
        ];
        prop::collection::vec((prop::sample::select(FrameKind::ALL.to_vec()), body), 0..12)
    }

    proptest! {
        #[test]
        fn frames_come_out_whatever_the_pieces(
            frames in frames(),
            pieces in prop::collection::vec(1usize..5000, 1..20),
        ) {
            prop_assert_eq!(read(&stream(&frames), &pieces), (frames, None));
        }

        /// Bytes changed, cut out or put in: frames before it come out, none after it, no panic.
        #[test]
        fn a_damaged_stream_ends_where_it_is_damaged(
            frames in frames(),
            pieces in prop::collection::vec(1usize..5000, 1..20),
            at in any::<prop::sample::Index>(),
            harm in 0..3,
            byte in 1u8..,
        ) {
            let mut stream = stream(&frames);
            prop_assume!(!stream.is_empty());
            let at = at.index(stream.len());
            match harm {
                0 => stream[at] ^= byte,
                1 => drop(stream.remove(at)),
                _ => stream.insert(at, byte),
            }
            let (got, error) = read(&stream, &pieces);
            prop_assert!(got.len() <= frames.len() && got[..] == frames[..got.len()]);
            // Cut at its end, or put after it, a stream only waits for more.
            let whole = got.len() == frames.len();
            prop_assert!(error.is_some() || harm != 0 || (whole && harm == 2), "{}", got.len());
        }
    }

    #[test]
    fn no_room_is_made_for_more_than_is_expected() {
        let mut inbox = Inbox::new(Opener::new(SealKey::OPENING, Direction::FromSender));
        inbox.expect_at_most(100);
        let long = stream(&vec![(FrameKind::Hello, vec![1; 101])]);
        let space = inbox.space();
        space[..HEAD].copy_from_slice(&long[..HEAD]);
        inbox.filled(HEAD);
        assert_eq!(inbox.take_frame(), Err(WireError::TooLong { got: 101, most: 100 }));
        assert_eq!(inbox.buffer.len(), SMALL);
    }

    #[test]
    fn the_longest_frame_fits() {
        let frames =
            vec![(FrameKind::Data, vec![3; MOST_BODY as usize]), (FrameKind::Ready, vec![])];
        assert_eq!(read(&stream(&frames), &[100_000]), (frames, None));
    }
}
