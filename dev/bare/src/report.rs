//! What a guest tells about itself, in a page of its memory that is nothing else's.

use crate::image::BareImage;

/// What a guest has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Pages written or touched, DMA transfers of two pages, or batches. Counted again from each start.
    pub ticks: u64,
    /// Whole passes over the range.
    pub passes: u64,
    /// How often the guest has begun: one more than the resets, as RAM outlives them.
    pub boots: u64,
    /// How it is.
    pub state: JobState,
    /// The first byte of the range, guest-physical. Job [`crate::GuestJob::FrameBuffer`]: where it found it.
    pub base: u64,
    /// What the CPU's page-table walker updates by itself: 0 nothing, 1 the access flag, 2 the dirty
    /// state too (aarch64: ID_AA64MMFR1_EL1.HAFDBS). 0 elsewhere.
    pub walker: u64,
    /// Descriptors that the guest's fault handler updated.
    pub faults: u64,
}

/// How a guest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// Not begun.
    Absent,
    /// At work, or idle on purpose.
    Working,
    /// No fresh page is left.
    Done,
    /// It can't do its job; the code is explained where the source sets it.
    Failed(u64),
}

impl Report {
    /// Length in bytes.
    pub const LEN: usize = 7 * 8;

    /// Reads the bytes at [`BareImage::report`].
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let mut words = bytes.chunks_exact(8).map(|word| {
            word.iter().rev().fold(0, |value: u64, &byte| value << 8 | u64::from(byte))
        });
        let mut next = || words.next().unwrap_or(0);
        Self {
            ticks: next(),
            passes: next(),
            boots: next(),
            state: match next() {
                0 => JobState::Absent,
                1 => JobState::Working,
                2 => JobState::Done,
                code => JobState::Failed(code),
            },
            base: next(),
            walker: next(),
            faults: next(),
        }
    }

    /// The report's page in the guest's main memory, as an offset in bytes.
    pub fn offset(image: BareImage) -> u64 {
        image.report() - image.ram()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_little_endian_and_in_order() {
        let mut bytes = [0; Report::LEN];
        for (n, word) in [0x0102, 2, 3, 0xdead_0004, 5, 1, 7].iter().enumerate() {
            bytes[8 * n..8 * n + 8].copy_from_slice(&u64::to_le_bytes(*word));
        }
        let report = Report::from_bytes(&bytes);
        let state = JobState::Failed(0xdead_0004);
        let expected =
            Report { ticks: 0x0102, passes: 2, boots: 3, state, base: 5, walker: 1, faults: 7 };
        assert_eq!(report, expected);
        assert_eq!(Report::from_bytes(&[0; Report::LEN]).state, JobState::Absent);
    }
}
