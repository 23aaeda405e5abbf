use super::*;
use crate::TwinShape;
use memtwin_pages::{Gpa, Layout, PageSize, Region};
use proptest::prelude::*;

fn samples() -> Vec<WireMessage<'static>> {
    let asked = BlockQuery { region: 1, first: 70_000, each: 256, count: 2 };
    let fetch = BlockQuery { each: 1, count: 3, ..asked };
    vec![
        WireMessage::Hello(Hello { versions: Versions::OURS, session: [1; 16], nonce: [2; 16] }),
        WireMessage::Welcome(Welcome { version: 1, nonce: [3; 16], holds: None }),
        WireMessage::Welcome(Welcome { version: 1, nonce: [3; 16], holds: Some(u32::MAX) }),
        WireMessage::Ready,
        WireMessage::Data(FrameKind::DataLz4, &[1, 2, 3]),
        WireMessage::RoundEnd(RoundEnd { round: 3, blocks: 1 << 40 }),
        WireMessage::Ack(9),
        WireMessage::AskDigests(asked),
        WireMessage::Digests(BlockAnswer { asked, bytes: &[7; 64] }),
        WireMessage::Fetch(fetch),
        WireMessage::Bytes(BlockAnswer { asked: fetch, bytes: &[8; 1536] }),
        WireMessage::Verdict {
            outcome: TwinVerdict::Differs,
            reason: "3 lost pages".into(),
            digests: &[9; 32],
        },
        WireMessage::Confirm { kept: true, why: "".into() },
        WireMessage::Confirm { kept: false, why: "no room".into() },
        WireMessage::Bye,
        WireMessage::Ping(5),
        WireMessage::Pong(u64::MAX),
        WireMessage::Refuse { code: RefuseCode::Disk, why: "no space left".into() },
        WireMessage::Base(JournalBase { round: 4, image: [5; 16] }),
    ]
}

#[test]
fn what_is_said_is_understood_and_cut_short_it_is_not() {
    for message in samples() {
        let frame = message.frame();
        let body = &frame[HEAD..];
        assert_eq!(WireMessage::read(message.kind(), body), Ok(message));
        if matches!(message, WireMessage::Data(..) | WireMessage::Bytes(_)) {
            continue;
        }
        for cut in 0..body.len() {
            let read = WireMessage::read(message.kind(), &body[..cut]);
            // A verdict without digests is one.
            assert!(read.is_err() || matches!(message, WireMessage::Verdict { .. }), "{message:?}");
        }
        let longer = [body, &[0]].concat();
        assert!(WireMessage::read(message.kind(), &longer).is_err(), "{message:?}");
    }
}

#[test]
fn a_text_is_cut_at_a_character() {
    let why = "ü".repeat(MOST_TEXT as usize);
    let frame = WireMessage::Confirm { kept: false, why: why.as_str().into() }.frame();
    let read = WireMessage::read(FrameKind::Confirm, &frame[HEAD..]).unwrap();
    assert!(
        matches!(read, WireMessage::Confirm { why, .. } if why.raw().len() == MOST_TEXT as usize)
    );
}

#[test]
fn questions_stay_within_the_layout() {
    let page = PageSize::new(4096).unwrap();
    let region = Region::new("a", Gpa(0), 1000 * 4096, page).unwrap();
    let shape = TwinShape::of(&Layout::new(vec![region]));
    let asked = |first, each, count| BlockQuery { region: 0, first, each, count };
    let check =
        |asked: BlockQuery| asked.check(&shape, FrameKind::AskDigests).map(|(_, blocks)| blocks);
    assert_eq!(check(asked(0, 256, 4)), Ok(1000));
    assert_eq!(check(asked(0, 256, 3)), Ok(768));
    assert_eq!(check(asked(999, 256, 1)), Ok(1));
    assert!(check(asked(0, 256, 5)).is_err(), "a digest of no block");
    assert!(check(asked(1000, 1, 1)).is_err());
    assert!(check(asked(0, 0, 1)).is_err());
    assert!(check(asked(0, 1, 0)).is_err());
    assert!(check(asked(0, u32::MAX, u32::MAX)).is_err());
    let fetch =
        |first, count| asked(first, 1, count).check(&shape, FrameKind::Fetch).map(|it| it.1);
    assert_eq!(fetch(0, 128), Ok(128));
    assert!(fetch(0, 129).is_err(), "more than a frame holds");
    assert!(fetch(999, 2).is_err());
}

proptest! {
    /// Whatever comes in as a body: an error or a message, never a panic.
    #[test]
    fn any_bytes_are_a_message_or_an_error(
        kind in prop::sample::select(FrameKind::ALL.to_vec()),
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        if let Ok(message) = WireMessage::read(kind, &body) {
            // One form only: what was read is written the same.
            prop_assert_eq!(&message.frame()[HEAD..], &body[..]);
        }
        let _ = crate::decode_layout(&body);
    }
}
