//! The bounded run of the fuzz target `wire`: its seeds, changed in many ways from one random seed.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may end at what it did not expect"
)]

#[path = "common/understood.rs"]
mod understood;

use std::fs;
use std::path::Path;
use understood::is_bounded;

const ROUNDS: usize = 20_000;

fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/wire");
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names.iter().map(|name| fs::read(name).unwrap()).collect()
}

#[test]
fn changed_seeds_are_understood_or_refused() {
    let seeds = seeds();
    assert!(seeds.len() >= 8, "the seeds are there");
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..ROUNDS {
        let mut bytes = random.choice(&seeds).unwrap().clone();
        for _ in 0..random.u8(1..5) {
            let at = random.usize(..bytes.len());
            match random.u8(..5) {
                0 => bytes[at] ^= 1 << random.u8(..8),
                1 => bytes[at] = random.u8(..),
                2 => bytes.truncate(at.max(1)),
                3 => bytes.insert(at, random.u8(..)),
                _ => {
                    let more = random.choice(&seeds).unwrap();
                    bytes.extend_from_slice(&more[random.usize(..more.len())..]);
                }
            }
        }
        bytes.truncate(64 << 10);
        is_bounded(&bytes);
    }
}

#[test]
fn seeds_say_what_their_names_say() {
    use memtwin_wire::{FrameKind, WireMessage, decode_layout};
    let read = |name: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/wire");
        fs::read(folder.join(name)).unwrap().split_off(1)
    };
    // A seed that is refused at its first byte would lead nowhere.
    assert!(matches!(
        WireMessage::read(FrameKind::Hello, &read("hello")),
        Ok(WireMessage::Hello(_))
    ));
    assert!(matches!(
        WireMessage::read(FrameKind::Verdict, &read("verdict")),
        Ok(WireMessage::Verdict { .. })
    ));
    assert!(decode_layout(&read("layout")).is_ok());
}
