//! What changed in a block, word by word: the new value of each changed 8-byte word.
//!
//! New values, not differences: applying one twice leaves the same block.

use crate::WireError;
use crate::bytes::{BodyCursor, put_varint};

const WORD: usize = 8;
/// Compared at once, as a whole: most of a dirty block is as it was. Divides every block.
const SECTION: usize = 512;

/// What became of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockUpdate {
    /// It is as it was.
    Same,
    /// What changed was appended.
    Changed,
    /// It changed too much; nothing was appended.
    TooMuch,
}

/// Makes `held` equal to `new`, and appends what that took, unless it is `most` bytes or more. Both
/// are as long as one block, a multiple of 512 bytes.
pub(crate) fn update(held: &mut [u8], new: &[u8], most: usize, into: &mut Vec<u8>) -> BlockUpdate {
    let began = into.len();
    // The number of runs stands before them; nearly always it has one byte.
    into.push(0);
    let mut runs = WordRuns { into, count: 0, end: 0, open: None };
    for (i, (held, new)) in held.chunks_mut(SECTION).zip(new.chunks(SECTION)).enumerate() {
        if held == new {
            continue;
        }
        let words = held.as_chunks_mut::<WORD>().0.iter_mut().zip(new.as_chunks::<WORD>().0);
        for (word, (held, new)) in (i * (SECTION / WORD)..).zip(words) {
            if held != new {
                runs.add(word, new);
                *held = *new;
            }
        }
        if runs.into.len() - began >= most {
            runs.into.truncate(began);
            return BlockUpdate::TooMuch;
        }
    }
    runs.close();
    let count = runs.count;
    match count {
        0 => {
            into.truncate(began);
            return BlockUpdate::Same;
        }
        1..0x80 => into[began] = count as u8,
        _ => replace(into, began, count),
    }
    BlockUpdate::Changed
}

/// Neighbouring words that changed, as they are appended.
struct WordRuns<'v> {
    into: &'v mut Vec<u8>,
    count: u64,
    /// One after the last word.
    end: usize,
    /// Where the length of the last run stands, and where its words begin.
    open: Option<(usize, usize)>,
}

impl WordRuns<'_> {
    fn add(&mut self, word: usize, new: &[u8; WORD]) {
        if self.open.is_none() || word != self.end {
            self.close();
            put_varint(self.into, (word - self.end) as u64);
            self.into.push(0);
            self.open = Some((self.into.len() - 1, word));
            self.count += 1;
        }
        self.into.extend_from_slice(new);
        self.end = word + 1;
    }

    fn close(&mut self) {
        if let Some((at, first)) = self.open.take() {
            match self.end - first {
                words @ 0..0x80 => self.into[at] = words as u8,
                words => replace(self.into, at, words as u64),
            }
        }
    }
}

/// Puts a number that needs more than one byte in the place of one byte.
fn replace(into: &mut Vec<u8>, at: usize, number: u64) {
    let mut bytes = Vec::with_capacity(3);
    put_varint(&mut bytes, number);
    into.splice(at..=at, bytes);
}

/// The changed words of one block, checked.
#[derive(Clone, Copy, Debug)]
pub struct Delta<'a> {
    cursor: BodyCursor<'a>,
    runs: u64,
}

impl<'a> Delta<'a> {
    /// Reads a delta of a block of this many bytes; the cursor is after it then.
    pub(crate) fn read(cursor: &mut BodyCursor<'a>, block: usize) -> Result<Self, WireError> {
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
    cursor: BodyCursor<'a>,
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
        let mut cursor = BodyCursor::new("a delta", bytes);
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
            let mut held = old.clone();
            let update = update(&mut held, &new, 4096, &mut bytes);
            prop_assert_eq!(update == BlockUpdate::Same, old == new);
            if update != BlockUpdate::Changed {
                prop_assert_eq!(&bytes, &[1, 2, 3]);
            } else {
                prop_assert_eq!(&held, &new);
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
            assert_eq!(update(&mut old.clone(), &new, 2048, &mut bytes), BlockUpdate::Changed);
            assert_eq!(bytes.len(), len);
        }
    }

    #[test]
    fn every_second_word_has_a_count_of_two_bytes() {
        let old = vec![0; 4096];
        let mut new = old.clone();
        new.iter_mut().step_by(16).for_each(|byte| *byte = 1);
        let mut bytes = Vec::new();
        assert_eq!(update(&mut old.clone(), &new, 4096, &mut bytes), BlockUpdate::Changed);
        let mut block = old;
        read(&bytes, 4096).unwrap().apply(&mut block);
        assert_eq!(block, new);
    }

    #[test]
    fn a_run_of_many_words_has_a_length_of_two_bytes() {
        let old = vec![0; 4096];
        let mut new = old.clone();
        new[800..2400].fill(1);
        let mut bytes = Vec::new();
        assert_eq!(update(&mut old.clone(), &new, 4096, &mut bytes), BlockUpdate::Changed);
        assert_eq!(bytes.len(), 1 + 1 + 2 + 1600);
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
