//! The BSD checksum: what sum(1) prints first with `-r`. For each byte: rotate the 16-bit state
//! right by one, add the byte, drop the carry.
//!
//! # Eight bytes at a step
//!
//! Byte by byte this does 2 GB/s: each step waits for the one before. So take eight at a time.
//! Let the 16 bits be a ring, and turn the place where bytes go in instead of the bits: byte `i`
//! of a word goes in `i` places further up, and the ring is turned once, at the end. If no carry
//! were ever dropped the word would come to one number, `sum = Σ byte[i] << i`, at most 255 · 255,
//! added to the ring, with the carry out of the top going in at the bottom.
//!
//! A carry is dropped when it comes all the way around to the place where its byte went in. Let
//! `all = ring + sum`, not wrapped; it is below 2^17, so one carry at most leaves the top.
//!
//! - To be dropped, the carry of byte `i` must go on through the `i` places at the bottom, so
//!   they are ones. Later bytes don't reach them: they are ones in `all` too. Thus `i` is no more
//!   than the number of ones at the bottom of `all`: `i <= ones`.
//! - The bytes up to `i` carried out of the top, and they are at most `255 · (2^(ones+1) - 1)`.
//!
//! Where `all` does not carry, or the ring is too small for that, no carry was dropped. Elsewhere
//! (2 words in 100 of random data) the eight bytes are taken one by one. A word of zeros, which
//! memory is full of, never carries.

/// A running BSD checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BsdSum(u16);

/// Every other byte of a word.
const EVEN_BYTES: u64 = 0x00ff_00ff_00ff_00ff;

/// As a factor: brings four 16-bit numbers to the top one, each two places above the one before.
/// The lower ones don't reach 2^16 on the way: their numbers are at most 255 · 3.
const GATHER: u64 = 1 << 48 | 4 << 32 | 16 << 16 | 64;

impl BsdSum {
    /// Goes on over these bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        // The next byte goes in at the bottom of the ring.
        let mut ring = self.0.rotate_right(1);
        for word in words {
            let sum = shifted_sum(word);
            let (wrapped, carry) = ring.overflowing_add(sum);
            let all = u32::from(ring) + u32::from(sum);
            // Ones from the bottom up to and with the first 0, eight at most; 256 times that.
            let most = ((all ^ (all + 1)) & 0xff) << 8;
            // Both are below 2^17, so this bit says of each whether it carries out of the top.
            ring = if (u32::from(ring) + most) & all & 1 << 16 != 0 {
                byte_by_byte(ring.rotate_left(1), word).rotate_right(1)
            } else {
                wrapped.wrapping_add(carry.into()).rotate_left(8)
            };
        }
        self.0 = byte_by_byte(ring.rotate_left(1), rest);
    }

    /// The checksum of the bytes so far.
    pub(crate) fn value(self) -> u16 {
        self.0
    }
}

/// `Σ byte[i] << i`
fn shifted_sum(word: &[u8; 8]) -> u16 {
    let word = u64::from_le_bytes(*word);
    let pairs = (word & EVEN_BYTES) + 2 * ((word >> 8) & EVEN_BYTES);
    (pairs.wrapping_mul(GATHER) >> 48) as u16
}

/// The definition.
fn byte_by_byte(state: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(state, |state, &byte| state.rotate_right(1).wrapping_add(byte.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    fn from_state(state: u16, bytes: &[u8]) -> u16 {
        let mut sum = BsdSum(state);
        sum.update(bytes);
        sum.value()
    }

    /// Bytes as memory has them: anything, runs of one value, and mostly ones, where carries are.
    fn memory() -> impl Strategy<Value = Vec<u8>> {
        let value = prop_oneof![any::<u8>(), Just(0), Just(0xff), 0xf8u8..=0xff];
        let run = (value.clone(), 1usize..40).prop_map(|(value, len)| vec![value; len]);
        let mixed = prop::collection::vec(value, 1..40);
        prop::collection::vec(prop_oneof![run, mixed], 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn eight_at_a_step_is_one_at_a_time(
            state in prop_oneof![any::<u16>(), 0xff00u16..=0xffff],
            bytes in memory(),
        ) {
            prop_assert_eq!(from_state(state, &bytes), byte_by_byte(state, &bytes));
        }

        #[test]
        fn it_does_not_matter_where_the_bytes_are_cut(bytes in memory(), cut in any::<prop::sample::Index>()) {
            let (front, back) = bytes.split_at(cut.index(bytes.len() + 1));
            prop_assert_eq!(from_state(from_state(0, front), back), byte_by_byte(0, &bytes));
        }
    }

    #[test]
    fn every_state_of_the_ring_is_right() {
        let words = [
            [0; 8],
            [0xff; 8],
            [1; 8],
            [0x80, 0x7f, 0xff, 0, 1, 0xfe, 0x55, 0xaa],
            [0, 0, 0, 0, 0, 0, 0, 1],
            [0, 0, 0, 0, 0, 0, 0, 0xff],
            [1, 0, 0, 0, 0, 0, 0, 0],
            [0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0],
            *b"a carry.",
        ];
        for state in 0..=u16::MAX {
            for word in words {
                assert_eq!(
                    from_state(state, &word),
                    byte_by_byte(state, &word),
                    "{state} {word:?}"
                );
            }
        }
    }

    /// The control of the tests above: without the step back to single bytes they would fail.
    #[test]
    fn the_words_above_do_drop_carries() {
        let dropped = (0..=u16::MAX).filter(|state| {
            let (all, carry) = state.rotate_right(1).overflowing_add(shifted_sum(&[0xff; 8]));
            let kept = all.wrapping_add(carry.into()).rotate_left(8);
            kept.rotate_left(1) != byte_by_byte(*state, &[0xff; 8])
        });
        assert!(dropped.count() > 1000);
    }

    #[test]
    fn it_is_what_sum_prints() {
        let bytes: Vec<u8> =
            (0..100_003u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bytes");
        std::fs::write(&path, &bytes).unwrap();
        let output = Command::new("sum").arg("-r").arg(&path).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let first = printed.split_whitespace().next().unwrap();
        assert_eq!(first.parse::<u16>().unwrap(), from_state(0, &bytes));
        assert_ne!(first.parse::<u16>().unwrap(), from_state(0, &bytes[..100_000]));
    }
}
