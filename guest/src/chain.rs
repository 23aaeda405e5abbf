//! The records of `diskload`: each has a number, bytes that no other record has, and a sum that runs
//! on from the record before it, so that one which is missing, old, torn or out of order is told.
//!
//! 512 bytes, all numbers little-endian: `MTDISK01`, the number from 0 (8 bytes), the sum of the record
//! before (8; 0 for the first), 480 bytes that follow from the number, and the FNV-1a sum (64 bits) of
//! the 504 bytes so far.

/// The bytes of a record: a sector, which a disk writes whole.
pub const BYTES: usize = 512;
const MAGIC: &[u8; 8] = b"MTDISK01";
const SUMMED: usize = BYTES - 8;

/// Makes one record after another.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chain {
    next: u64,
    sum: u64,
}

impl Chain {
    /// The number of the next record.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The sum of the last record.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The next record.
    pub fn record(&mut self) -> [u8; BYTES] {
        let mut record = [0; BYTES];
        record[..8].copy_from_slice(MAGIC);
        record[8..16].copy_from_slice(&self.next.to_le_bytes());
        record[16..24].copy_from_slice(&self.sum.to_le_bytes());
        fastrand::Rng::with_seed(self.next).fill(&mut record[24..SUMMED]);
        self.sum = fnv1a(&record[..SUMMED]);
        record[SUMMED..].copy_from_slice(&self.sum.to_le_bytes());
        self.next += 1;
        record
    }
}

fn fnv1a(bytes: &[u8]) -> u64 {
    let mix = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_fnv_1a() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_record_names_itself_and_the_one_before() {
        let mut chain = Chain::default();
        let (first, second) = (chain.record(), chain.record());
        assert_eq!((&first[..8], chain.next()), (&MAGIC[..], 2));
        assert_eq!(first[SUMMED..], second[16..24]);
        assert_eq!(second[8..16], 1u64.to_le_bytes());
        assert_ne!(first[24..SUMMED], second[24..SUMMED]);
        assert_eq!(second[SUMMED..], chain.sum().to_le_bytes());
    }
}
