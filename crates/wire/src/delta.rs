//! What changed in a block, word by word: the new value of each changed 8-byte word.
//!
//! New values, not differences: applying one twice leaves the same block.

use crate::WireError;
use crate::bytes::{Cursor, put_varint};

const WORD: usize = 8;
/// Compared at once: most of a dirty block is as it was.
const LINE: usize = 64;

/// Appends what turns `old` into `new`, unless it takes `most` bytes or more: then nothing is
/// appended and `false` returned. Both are as long as one block, a multiple of 64 bytes.
pub(crate) fn encode(old: &[u8], new: &[u8], most: usize, into: &mut Vec<u8>) -> bool {
    let began = into.len();
    let (old, new) = (old.as_chunks::<LINE>().0, new.as_chunks::<LINE>().0);
    // The number of runs stands before them; nearly always it has one byte.
    into.push(0);
    let (mut runs, mut done) = (0u64, 0usize);
    let mut open: Option<Run> = None;
    for (line, (old, new)) in old.iter().zip(new).enumerate() {
        if old == new {
            continue;
        }
        let words = old.as_chunks::<WORD>().0.iter().zip(new.as_chunks::<WORD>().0);
        for (i, (old, new)) in words.enumerate() {
            if old == new {
                continue;
            }
            let word = line * (LINE / WORD) + i;
            match &mut open {
                Some(run) if run.end() == word => run.bytes.extend_from_slice(new),
                run => {
                    if let Some(run) = run.take() {
                        done = run.put(done, into);
                    }
                    runs += 1;
                    *run = Some(Run { first: word, bytes: new.to_vec() });
                }
            }
        }
        if into.len() - began + open.as_ref().map_or(0, |run| run.bytes.len()) >= most {
            into.truncate(began);
            return false;
        }
    }
    if let Some(run) = open {
        run.put(done, into);
    }
    if runs < 0x80 {
        into[began] = runs as u8;
    } else {
        let mut count = Vec::with_capacity(2);
        put_varint(&mut count, runs);
        into.splice(began..=began, count);
    }
    true
}

/// Neighbouring words that changed.
struct Run {
    first: usize,
    bytes: Vec<u8>,
}

impl Run {
    fn end(&self) -> usize {
        self.first + self.bytes.len() / WORD
    }

    /// Appends it, counted from word `done` on. Returns where it ends.
    fn put(&self, done: usize, into: &mut Vec<u8>) -> usize {
        put_varint(into, (self.first - done) as u64);
        put_varint(into, (self.bytes.len() / WORD) as u64);
        into.extend_from_slice(&self.bytes);
        self.end()
    }
}

/// The changed words of one block, checked.
#[derive(Clone, Copy, Debug)]
pub struct Delta<'a> {
    cursor: Cursor<'a>,
    runs: u64,
}

impl<'a> Delta<'a> {
    /// Reads a delta of a block of so many bytes; the cursor is after it then.
    pub(crate) fn read(cursor: &mut Cursor<'a>, block: usize) -> Result<Self, WireError> {
        let runs = cursor.varint()?;
        let this = Self { cursor: *cursor, runs };
        let words = (block / WORD) as u64;
        if runs == 0 || runs > words {
            let expected = "at least one, and at most one a word";
            return Err(WireError::Range { what: "the runs of a delta", got: runs, expected });
        }
        let mut at = 0u64;
        for run in 0..runs {
            let (skipped, count) = (cursor.varint()?, cursor.varint()?);
            let end = at.checked_add(skipped).and_then(|at| at.checked_add(count));
            at = end
                .filter(|&end| count > 0 && end <= words)
                .ok_or(WireError::Words { end: end.unwrap_or(u64::MAX), words })?;
            if run > 0 && skipped == 0 {
                let expected = "a gap between two runs";
                return Err(WireError::Range { what: "skipped words", got: 0, expected });
            }
            cursor.take(count * WORD as u64)?;
        }
        Ok(this)
    }

    /// Each run: where in the block its bytes begin, and the bytes.
    pub fn runs(&self) -> DeltaRuns<'a> {
        DeltaRuns { cursor: self.cursor, left: self.runs, word: 0 }
    }

    /// Changes a block.
    pub fn apply(&self, block: &mut [u8]) {
        for (at, bytes) in self.runs() {
            block[at..at + bytes.len()].copy_from_slice(bytes);
        }
    }
}

/// The runs of a [`Delta`].
#[derive(Clone, Debug)]
pub struct DeltaRuns<'a> {
    cursor: Cursor<'a>,
    left: u64,
    word: u64,
}

impl<'a> Iterator for DeltaRuns<'a> {
    type Item = (usize, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        // Was checked: none of these fails.
        let first = self.word + self.cursor.varint().ok()?;
        let count = self.cursor.varint().ok()?;
        let bytes = self.cursor.take(count * WORD as u64).ok()?;
        self.word = first + count;
        Some((first as usize * WORD, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8], block: usize) -> Result<Delta<'_>, WireError> {
        let mut cursor = Cursor::new("a delta", bytes);
        let delta = Delta::read(&mut cursor, block)?;
        cursor.end()?;
        Ok(delta)
    }

    proptest! {
        #[test]
        fn a_delta_turns_the_old_block_into_the_new(
            old in prop::collection::vec(any::<u8>(), 4096),
            writes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 1usize..40), 1..200),
        ) {
            let mut new = old.clone();
            for (at, byte, len) in writes {
                let at = at.index(new.len());
                let end = (at + len).min(new.len());
                new[at..end].fill(byte);
            }
            let mut bytes = vec![1, 2, 3];
            let fits = encode(&old, &new, 4096, &mut bytes);
            if !fits {
                prop_assert_eq!(&bytes, &[1, 2, 3]);
            } else if old != new {
                let mut block = old.clone();
                let delta = read(&bytes[3..], 4096).unwrap();
                delta.apply(&mut block);
                prop_assert_eq!(&block, &new);
                delta.apply(&mut block);
                prop_assert_eq!(&block, &new);
            }
        }
    }

    #[test]
    fn one_word_is_eleven_bytes_or_twelve() {
        let old = vec![0; 4096];
        for (word, len) in [(0, 11), (100, 11), (200, 12), (511, 12)] {
            let mut new = old.clone();
            new[word * 8] = 1;
            let mut bytes = Vec::new();
            assert!(encode(&old, &new, 2048, &mut bytes));
            assert_eq!(bytes.len(), len);
        }
    }

    #[test]
    fn every_second_word_has_a_count_of_two_bytes() {
        let old = vec![0; 4096];
        let mut new = old.clone();
        new.iter_mut().step_by(16).for_each(|byte| *byte = 1);
        let mut bytes = Vec::new();
        assert!(encode(&old, &new, 4096, &mut bytes));
        let mut block = old;
        read(&bytes, 4096).unwrap().apply(&mut block);
        assert_eq!(block, new);
    }

    #[test]
    fn words_that_the_block_has_not_are_refused() {
        let word = [9; 8];
        let with = |head: &[u8]| [head, &word[..], &word[..]].concat();
        assert!(read(&with(&[1, 62, 2]), 512).is_ok());
        assert!(matches!(read(&with(&[1, 63, 2]), 512), Err(WireError::Words { end: 65, .. })));
        assert!(read(&with(&[0]), 512).is_err(), "no run");
        assert!(read(&with(&[1, 0, 3]), 512).is_err(), "too short");
        assert!(read(&[1, 0, 0], 512).is_err(), "a run of nothing");
        let two = [&[2, 0, 1][..], &word, &[0, 1], &word].concat();
        assert!(read(&two, 512).is_err(), "two runs that are one");
        let huge =
            [&[1, 0][..], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]].concat();
        assert!(matches!(read(&huge, 512), Err(WireError::Words { .. })));
    }
}
