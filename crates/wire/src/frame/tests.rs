use super::*;

const KEY: SealKey = SealKey([7; 16]);

fn sealed(sealer: &mut Sealer, kind: FrameKind, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; HEAD];
    frame.extend_from_slice(body);
    sealer.seal(kind, &mut frame);
    frame
}

fn open(opener: &mut Opener, frame: &[u8]) -> Result<FrameKind, WireError> {
    let head = opener.head(frame[..HEAD].try_into().unwrap())?;
    assert_eq!(head.body_len(), frame.len() - HEAD);
    opener.body(&head, &frame[HEAD..])?;
    Ok(head.kind())
}

#[test]
fn a_frame_opens_once_and_in_its_turn() {
    let mut sealer = Sealer::new(KEY, Direction::FromSender);
    let mut opener = Opener::new(KEY, Direction::FromSender);
    let frames =
        [sealed(&mut sealer, FrameKind::Ping, b"one"), sealed(&mut sealer, FrameKind::Bye, b"")];
    assert!(matches!(
        open(&mut opener, &frames[1]),
        Err(WireError::Sequence { expected: 0, got: 1 })
    ));
    assert_eq!(open(&mut opener, &frames[0]), Ok(FrameKind::Ping));
    assert!(matches!(open(&mut opener, &frames[0]), Err(WireError::Sequence { .. })));
    assert_eq!(open(&mut opener, &frames[1]), Ok(FrameKind::Bye));
}

#[test]
fn a_frame_of_another_connection_or_direction_does_not_open() {
    let frame = sealed(&mut Sealer::new(KEY, Direction::FromSender), FrameKind::Ping, b"12345678");
    let nonces = [[1; 16], [2; 16]];
    for other in [
        Opener::new(KEY, Direction::FromReceiver),
        Opener::new(SealKey::OPENING, Direction::FromSender),
        Opener::new(
            SealKey::of_connection(&[7; 16], &nonces[0], &nonces[1]),
            Direction::FromSender,
        ),
    ] {
        assert!(matches!(open(&mut other.clone(), &frame), Err(WireError::Sum { .. })));
    }
}

#[test]
fn every_flipped_bit_is_seen_and_no_length_is_waited_for() {
    let frame = sealed(&mut Sealer::new(KEY, Direction::FromSender), FrameKind::Data, &[5; 100]);
    for bit in 0..frame.len() * 8 {
        let mut flipped = frame.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let opener = Opener::new(KEY, Direction::FromSender);
        let head = opener.head(flipped[..HEAD].try_into().unwrap());
        if bit < HEAD * 8 {
            // Found in the head alone: a longer length would be waited for in vain.
            assert!(matches!(head, Err(WireError::Sum { part: "head", .. })), "bit {bit}");
        } else {
            let body = opener.clone().body(&head.unwrap(), &flipped[HEAD..]);
            assert!(matches!(body, Err(WireError::Sum { part: "body", .. })), "bit {bit}");
        }
    }
}

#[test]
fn a_length_is_refused_even_with_a_right_sum() {
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&(MOST_BODY + 1).to_le_bytes());
    head[4] = FrameKind::Data as u8;
    let sum = crc32c::crc32c_append(KEY.seed(Direction::FromSender), &head[..20]);
    head[20..].copy_from_slice(&sum.to_le_bytes());
    let refused = Opener::new(KEY, Direction::FromSender).head(&head);
    assert_eq!(refused, Err(WireError::TooLong { got: MOST_BODY + 1, most: MOST_BODY }));
}

#[test]
fn every_kind_has_a_byte_of_its_own() {
    let mut bytes: Vec<u8> = FrameKind::ALL.map(|kind| kind as u8).to_vec();
    bytes.sort_unstable();
    bytes.dedup();
    assert_eq!(bytes.len(), FrameKind::ALL.len());
    assert_eq!(FrameKind::from_byte(0x99), Err(WireError::UnknownKind(0x99)));
}
