//! The verdict on what the guest has written: the file of `diskload` as it lies on the disk, against what
//! `diskload` said to be durable. Records are read here by what is written of them (`guest/src/chain.rs`),
//! not by the code that made them.

use crate::guest::console::ConsoleLine;
use std::time::Duration;

const BYTES: usize = 512;
const MAGIC: &[u8] = b"MTDISK01";

/// What was said to be durable: this many records, the last with this sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable {
    /// How many.
    pub records: u64,
    /// The last one's sum.
    pub sum: u64,
}

/// All that was said to be durable, in the order in which it was.
pub fn acknowledged(lines: &[ConsoleLine]) -> Vec<Durable> {
    let durable = |line: &ConsoleLine| {
        let rest = line.text.strip_prefix("diskload durable ")?;
        let (records, rest) = rest.split_once(" sum ")?;
        let sum = rest.get(..16)?;
        Some(Durable { records: records.parse().ok()?, sum: u64::from_str_radix(sum, 16).ok()? })
    };
    lines.iter().filter_map(durable).collect()
}

/// The longest time that the guest waited for its disk, of all that it has said.
pub fn longest_stall(lines: &[ConsoleLine]) -> Option<Duration> {
    let stall = |line: &ConsoleLine| {
        let (_, rest) = line.text.strip_prefix("diskload durable ")?.split_once(" stall ")?;
        let ms: f64 = rest.strip_suffix(" ms")?.parse().ok()?;
        Duration::try_from_secs_f64(ms / 1e3).ok()
    };
    lines.iter().filter_map(stall).max()
}

/// Why the file is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurabilityError {
    /// Nothing was ever said to be durable.
    #[error("the guest never said that anything was durable")]
    Nothing,
    /// A record is not what it should be: lost, old, torn, or another's.
    #[error("record {record} is {what}; {acknowledged} records were acknowledged")]
    Record {
        /// Its number.
        record: u64,
        /// What is wrong with it.
        what: &'static str,
        /// How many were acknowledged.
        acknowledged: u64,
    },
    /// Acknowledged records are not there.
    #[error("{records} whole records, {acknowledged} were acknowledged")]
    Missing {
        /// How many there are.
        records: u64,
        /// How many there should be at least.
        acknowledged: u64,
    },
    /// What was acknowledged and what is there are not the same.
    #[error(
        "{records} records were acknowledged with the sum {expected:016x}; the file has {got:016x}"
    )]
    Sum {
        /// How many.
        records: u64,
        /// The sum that was said.
        expected: u64,
        /// The sum that is there.
        got: u64,
    },
}

/// Checks the file: whole records in order, and nothing acknowledged is missing. Returns how many records
/// it has. A record that was being written, the last and not acknowledged, may be torn.
///
/// Errors: it is not so.
pub fn check(file: &[u8], said: &[Durable]) -> Result<u64, DurabilityError> {
    let acknowledged =
        said.iter().map(|durable| durable.records).max().ok_or(DurabilityError::Nothing)?;
    let mut sums = Vec::new();
    for record in file.chunks(BYTES) {
        let n = sums.len() as u64;
        match sum_of(record, n, sums.last().copied().unwrap_or(0)) {
            Ok(sum) => sums.push(sum),
            // What nobody was told of may be anything.
            Err(_) if n >= acknowledged => break,
            Err(what) => return Err(DurabilityError::Record { record: n, what, acknowledged }),
        }
    }
    let records = sums.len() as u64;
    if records < acknowledged {
        return Err(DurabilityError::Missing { records, acknowledged });
    }
    for durable in said.iter().filter(|durable| durable.records > 0) {
        let got = sums[durable.records as usize - 1];
        if got != durable.sum {
            let Durable { records, sum: expected } = *durable;
            return Err(DurabilityError::Sum { records, expected, got });
        }
    }
    Ok(records)
}

fn sum_of(record: &[u8], n: u64, before: u64) -> Result<u64, &'static str> {
    let number = |at: usize| -> Option<u64> {
        Some(u64::from_le_bytes(record.get(at..at + 8)?.try_into().ok()?))
    };
    let summed = record.get(..BYTES - 8).ok_or("cut off")?;
    if record.iter().all(|byte| *byte == 0) {
        return Err("all zeros");
    }
    if !record.starts_with(MAGIC) {
        return Err("no record");
    }
    if number(8) != Some(n) {
        return Err("another one");
    }
    if number(16) != Some(before) {
        return Err("one that follows another record");
    }
    let mix = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let sum = summed.iter().fold(0xcbf2_9ce4_8422_2325, mix);
    if number(BYTES - 8) == Some(sum) { Ok(sum) } else { Err("torn") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_guest::chain::Chain;

    fn written(records: u64) -> (Vec<u8>, Durable) {
        let mut chain = Chain::default();
        let file = (0..records).flat_map(|_| chain.record()).collect();
        (file, Durable { records, sum: chain.sum() })
    }

    #[test]
    fn a_whole_file_is_whole_and_may_have_more_than_was_said() {
        let (file, all) = written(9);
        let (_, some) = written(4);
        assert_eq!(check(&file, &[some, all]), Ok(9));
        // Torn, but nobody was told of it.
        assert_eq!(check(&file[..9 * 512 - 100], &[some]), Ok(8));
        assert_eq!(check(&file, &[]), Err(DurabilityError::Nothing));
    }

    #[test]
    fn every_kind_of_loss_is_found() {
        let (file, all) = written(9);
        let missing = check(&file[..8 * 512], &[all]);
        assert_eq!(missing, Err(DurabilityError::Missing { records: 8, acknowledged: 9 }));
        let with = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut file = file.clone();
            change(&mut file);
            match check(&file, &[all]) {
                Err(DurabilityError::Record { record, what, .. }) => (record, what),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(with(&|file| file[3 * 512 + 99] ^= 1), (3, "torn"));
        assert_eq!(with(&|file| file[512..1024].fill(0)), (1, "all zeros"));
        assert_eq!(with(&|file| drop(file.drain(512..1024))), (1, "another one"));
        let other = Durable { sum: all.sum ^ 1, ..all };
        assert!(matches!(check(&file, &[other]), Err(DurabilityError::Sum { records: 9, .. })));
    }

    #[test]
    fn what_was_said_is_read() {
        let text = "diskload durable 40 sum 0123456789abcdef stall 12.3 ms".to_owned();
        let line = ConsoleLine { at: std::time::Instant::now(), text };
        assert_eq!(longest_stall(std::slice::from_ref(&line)), Some(Duration::from_micros(12_300)));
        assert_eq!(acknowledged(&[line]), [Durable { records: 40, sum: 0x0123_4567_89ab_cdef }]);
    }
}
