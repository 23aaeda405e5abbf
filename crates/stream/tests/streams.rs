//! Whole streams, by hand.

mod common;

use common::encode::Stream;
use common::{Call, decode};
use memtwin_stream::{Phase, SectionKind};

#[test]
fn a_small_stream_is_told_in_its_order() {
    let mut stream = Stream::new("pc", 4096);
    stream.open_return_path().ping(1).blocks(&[("ram", 8192)]);
    stream.part().page("ram", 4096, 3).fill("ram", 0, 0).close();
    stream.end().close().devices();
    let (calls, decoder, end) = decode(4096, [&stream.bytes[..]]);
    assert_eq!(end, Ok(()));
    assert_eq!(decoder.phase(), Phase::RamEnded);
    assert_eq!(decoder.offset(), stream.bytes.len() as u64);
    assert_eq!(calls.last(), Some(&Call::Section { kind: SectionKind::End, pages: 0 }));
    assert_eq!(calls.len(), 9);
}
