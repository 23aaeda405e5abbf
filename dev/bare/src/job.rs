//! What a guest does.

use crate::report::{JobState, Report};
use std::time::Duration;

/// What a guest does from its start on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestJob {
    /// Nothing.
    Idle,
    /// Stores to one word of each page of a range, over and over, flat out.
    Write {
        /// The range's first byte, guest-physical.
        base: u32,
        /// Its length in pages.
        pages: u32,
    },
    /// Lets the IDE disk's bus master read into each page of a range, over and over. `pc` only.
    ReadDisk {
        /// The range's first byte, guest-physical.
        base: u32,
        /// Its length in pages, an even number.
        pages: u32,
        /// The disk's length in sectors of 512 bytes, a multiple of 16, and of the range's length
        /// in sectors only if each pass is to read the same again.
        sectors: u32,
    },
    /// Like [`GuestJob::Write`], but resets the machine again and again. x86 only.
    Reset {
        /// The range's first byte, guest-physical.
        base: u32,
        /// Its length in pages.
        pages: u32,
        /// Seconds of the real-time clock from the guest's start to the reset.
        seconds: u32,
    },
    /// Like [`GuestJob::Write`], but the range begins at the display adapter's frame buffer. x86 only.
    FrameBuffer {
        /// The range's length in pages.
        pages: u32,
    },
    /// Like [`GuestJob::Write`], but programs the word into a parallel flash by the flash's commands
    /// (Intel command set), as firmware does with its variables: each page has the number of the pass.
    /// It is the second flash of the machine (`pflash` unit 1). On x86 the guest is in the first one.
    Flash {
        /// The range's first byte, guest-physical.
        base: u32,
        /// Its length in pages.
        pages: u32,
    },
    /// Reads one fresh page after another, so that the page-table walker sets the access flag in its
    /// descriptor, or, on a CPU whose walker does not, the guest's fault handler. 262,144 pages (x86:
    /// 524,288), each the next table's.
    Touch {
        /// The time from one page to the next; on x86 by a time-stamp counter taken for one of 2 GHz.
        pace: Duration,
    },
    /// Like [`GuestJob::Touch`], but writes: the descriptor becomes writable (aarch64) or dirty as
    /// well.
    TouchByWriting {
        /// The time from one page to the next.
        pace: Duration,
    },
    /// Stores to one word of each page of a batch, a batch per interval; the next batch has other
    /// pages, until each page of the range had its turn. Between two the CPU halts. x86 only.
    Batches {
        /// The range's first byte, guest-physical.
        base: u32,
        /// Its length in pages, a multiple of `batch`.
        pages: u32,
        /// How many pages a batch has, a multiple of 8.
        batch: u32,
        /// The time from one batch to the next, as the PIT measures it. One that is late is made up
        /// for.
        interval: Duration,
    },
}

impl GuestJob {
    /// Whether a guest that tells this is at work: it has been over its range once, so that it
    /// touches no page of it for the first time any more. One that takes a fresh page each time has
    /// begun.
    pub fn is_at_work(self, report: &Report) -> bool {
        let begun = matches!(report.state, JobState::Working | JobState::Done);
        begun
            && match self {
                Self::Idle => true,
                Self::Touch { .. } | Self::TouchByWriting { .. } | Self::Batches { .. } => {
                    report.ticks > 0
                }
                _ => report.passes > 0,
            }
    }

    /// Whether a guest that told `before` and then `after` has done something of its job meanwhile:
    /// an audit between the two that finds nothing shows something. One that resets itself must have
    /// done so.
    pub fn has_worked(self, before: &Report, after: &Report) -> bool {
        match self {
            Self::Idle => true,
            Self::Reset { .. } => after.boots > before.boots,
            _ => after.ticks > before.ticks,
        }
    }
}

/// A divisor for the PIT's counter, and in the upper half how many of its ticks make an interval:
/// as few as can be. `None`: it is too short or too long.
pub(crate) fn timer(interval: Duration) -> Option<u32> {
    /// The PIT's clock, in Hz (Intel 8254; a third of the colour subcarrier of NTSC).
    const CLOCK: u128 = 1_193_182;
    let clocks = interval.as_nanos().checked_mul(CLOCK)? / 1_000_000_000;
    let ticks = clocks.div_ceil(u128::from(u16::MAX));
    let divisor = u16::try_from(clocks.checked_div(ticks)?).ok()?;
    Some(u32::from(u16::try_from(ticks).ok()?) << 16 | u32::from(divisor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_at_work_once_it_touches_nothing_anew() {
        let zero = Report::from_bytes(&[0; Report::LEN]);
        let begun = Report { state: JobState::Working, boots: 1, ..zero };
        let write = GuestJob::Write { base: 0, pages: 8 };
        let touch = GuestJob::Touch { pace: Duration::from_millis(1) };
        assert!(!GuestJob::Idle.is_at_work(&zero) && GuestJob::Idle.is_at_work(&begun));
        assert!(!write.is_at_work(&Report { ticks: 7, ..begun }));
        assert!(write.is_at_work(&Report { passes: 1, ..begun }));
        assert!(!touch.is_at_work(&begun) && touch.is_at_work(&Report { ticks: 1, ..begun }));
        assert!(!write.has_worked(&begun, &begun));
        assert!(write.has_worked(&begun, &Report { ticks: 1, ..begun }));
        let reset = GuestJob::Reset { base: 0, pages: 8, seconds: 3 };
        assert!(!reset.has_worked(&begun, &Report { ticks: 9, ..begun }));
        assert!(reset.has_worked(&begun, &Report { boots: 2, ..begun }));
    }
}
