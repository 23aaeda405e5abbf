//! What keeps a migration from converging, in numbers, and what would let it: from the passes that were
//! seen, not from a moment of one.

use super::progress::{MigrationProgress, PrecopyRound};
use std::time::Duration;

/// Of how many passes at the end the largest is taken: what came before may be a load that was another.
const LAST: usize = 8;
/// How long QEMU's estimate of the link is of the past, and how late a pass may be seen.
const LATE: Duration = Duration::from_millis(100);
/// What is added for loads and links that are not the same the next time.
const MARGIN: f64 = 1.3;

/// The downtime limit within which all fits that is dirty again after a pass. Passes that began with so
/// much dirtied no more than that while they were sent whole; so where more than that is dirty, sending
/// outruns the guest, which it does the more, the more of what it writes is dirty already: QEMU comes to
/// the limit, and collects less than it holds.
fn needed(bytes: u64, slow: f64, downtime_limit: Duration) -> Needed {
    let takes = Duration::try_from_secs_f64(bytes as f64 / slow.max(1.0)).unwrap_or(Duration::MAX);
    // It did not fit into the limit, or it would have converged.
    let takes = takes.max(downtime_limit).saturating_add(LATE);
    let needed = Duration::try_from_secs_f64(takes.as_secs_f64() * MARGIN).unwrap_or(Duration::MAX);
    Needed::DowntimeLimit { limit: rounded_up(needed), dirty_again: bytes }
}

/// The link as slow as QEMU may take it for (it estimates again all the time): the slowest round, but no
/// less than half of what it carries at best.
fn slow(rates: &[f64], best: f64) -> f64 {
    rates.iter().copied().fold(best, f64::min).max(best / 2.0)
}

/// To two digits.
fn rounded_up(time: Duration) -> Duration {
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    let unit = 10u64.pow(ms.ilog10().saturating_sub(1));
    Duration::from_millis(ms.div_ceil(unit).saturating_mul(unit))
}

/// What it takes to converge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// A downtime limit of this.
    DowntimeLimit {
        /// How long.
        limit: Duration,
        /// Bytes that are dirty again after each pass.
        dirty_again: u64,
    },
    /// Not all memory was sent once, so nothing is known of what gets dirty again.
    FirstPass {
        /// Bytes of it that were left.
        bytes: u64,
    },
}

/// Why a migration does not converge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvergenceAdvice {
    /// Bytes per second that the guest dirties.
    pub dirty: f64,
    /// Bytes per second that the link carries.
    pub link: f64,
    /// Bytes that were dirty at last.
    pub remaining: u64,
    /// What it would take.
    pub needed: Needed,
    /// The downtime that is allowed.
    pub downtime_limit: Duration,
}

impl ConvergenceAdvice {
    /// The numbers, and what would make it converge, as lines for a person.
    pub fn lines(&self) -> Vec<String> {
        let mb = |bytes: f64| bytes / 1e6;
        let allowed = self.link * self.downtime_limit.as_secs_f64();
        let mut lines = vec![format!(
            "the guest dirties {:.1} MB/s, the link carries {:.1} MB/s; {:.1} MB were dirty at last, and {:.1} MB \
             fit into the downtime limit of {} ms",
            mb(self.dirty),
            mb(self.link),
            mb(self.remaining as f64),
            mb(allowed),
            self.downtime_limit.as_millis()
        )];
        let more = match self.needed {
            Needed::DowntimeLimit { limit, dirty_again } => format!(
                "it would converge with --downtime-limit {}ms: up to {:.1} MB are dirty again after each pass",
                limit.as_millis(),
                mb(dirty_again as f64)
            ),
            Needed::FirstPass { bytes } => {
                let seconds = bytes as f64 / self.link.max(1.0) * MARGIN;
                let first = "not all of its memory was sent once, so what would let it converge is not known";
                if self.link < 1.0 {
                    format!("{first}: nothing was sent")
                } else {
                    format!(
                        "{first}: give --timeout at least {seconds:.0} s more, or --bandwidth more"
                    )
                }
            }
        };
        lines.push(more);
        let rate = self.dirty / self.link.max(1.0);
        if rate >= 1.0 {
            lines.push(format!(
                "or with a link {:.1} times as fast, or a guest that is slowed down: --capability \
                 auto-converge; --capability xbzrle helps a guest that changes little of each page, \
                 --capability postcopy-ram any",
                rate * 1.1
            ));
        }
        lines
    }
}

impl MigrationProgress {
    /// What keeps it from converging, in numbers, and what would help; nothing is known before QEMU
    /// has estimated the rates.
    pub fn advice(&self, downtime_limit: Duration) -> Option<ConvergenceAdvice> {
        let ram = self.last.ram?;
        let dirty = ram.dirty_pages_rate.saturating_mul(ram.page_size) as f64;
        let rates = self.rates();
        // The best of the rounds: the estimate of a moment is noisy.
        let link = rates.iter().copied().fold(ram.mbps * 1e6 / 8.0, f64::max);
        let needed = match self.largest_pass() {
            Some(bytes) => needed(bytes, slow(&rates, link), downtime_limit),
            None => Needed::FirstPass { bytes: ram.remaining },
        };
        Some(ConvergenceAdvice { dirty, link, remaining: ram.remaining, needed, downtime_limit })
    }

    /// Bytes per second of the rounds that say something of the link. The first is another matter: much
    /// of it are pages of zeros, which are read more than sent.
    fn rates(&self) -> Vec<f64> {
        let long =
            |round: &&PrecopyRound| round.took >= Duration::from_millis(100) && round.bytes > 0;
        let rates =
            |rounds: &[PrecopyRound]| rounds.iter().filter(long).map(PrecopyRound::rate).collect();
        let later: Vec<f64> = rates(self.rounds.get(1..).unwrap_or_default());
        if later.is_empty() { rates(&self.rounds) } else { later }
    }

    /// The most bytes that a pass began with, the last ones and the one after the first pass alone. It
    /// was seen a moment after its beginning, so what it sent counts where that is more.
    fn largest_pass(&self) -> Option<u64> {
        let passes = self.dirty_again.iter().enumerate().map(|(n, bytes)| {
            let sent = self.rounds.get(n + 1).map_or(0, |round| round.bytes);
            sent.max(*bytes)
        });
        passes.skip(self.dirty_again.len().saturating_sub(LAST)).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::progress::tests::told;
    use std::time::Instant;

    /// A course of passes: how long each took in milliseconds, bytes sent in it, bytes dirty at its end as
    /// seen a moment later; and what was dirty when it was given up.
    fn course(passes: &[(u64, u64, u64)], given_up: u64) -> MigrationProgress {
        let (mut course, mut now) = (MigrationProgress::default(), Instant::now());
        let (mut sent, mut sync) = (0, 1);
        let told = |sync, transferred, remaining| {
            let mut told = told(sync, transferred, 0);
            told.ram.as_mut().unwrap().remaining = remaining;
            told
        };
        course.see(now, told(1, 0, 200_000_000));
        for (ms, bytes, dirty) in passes {
            now += Duration::from_millis(*ms);
            (sent, sync) = (sent + bytes, sync + 1);
            course.see(now, told(sync, sent, *dirty));
        }
        course.see(now + Duration::from_secs(1), told(sync, sent + 8_000_000, given_up));
        course.close();
        course
    }

    #[test]
    fn advice_is_what_a_pass_begins_with_and_not_what_is_left_of_one() {
        let limit = Duration::from_millis(300);
        assert_eq!(MigrationProgress::default().advice(limit), None);
        // 8 MB/s; 32 MB are dirty after each pass, and 11 MB were left of the last when it was given up.
        let given_up = course(
            &[(20_000, 100_000_000, 32_000_000), (4000, 31_900_000, 31_200_000)],
            11_000_000,
        );
        let advice = given_up.advice(limit).unwrap();
        // The pass after the first one: 4 s, and what QEMU's estimate may be off.
        let Needed::DowntimeLimit { limit: needed, dirty_again } = advice.needed else { panic!() };
        assert_eq!((needed.as_millis(), dirty_again), (5400, 32_000_000));
        let lines = advice.lines();
        assert!(
            lines[0].starts_with("the guest dirties 4.1 MB/s, the link carries 8.0 MB/s"),
            "{lines:?}"
        );
        assert_eq!(
            lines[1],
            "it would converge with --downtime-limit 5400ms: up to 32.0 MB are dirty again after each pass"
        );
        assert_eq!(lines.len(), 2, "{lines:?}");
        // What was seen late counts by what was sent.
        let late = course(&[(20_000, 100_000_000, 1_000_000), (4000, 31_900_000, 2_000_000)], 1);
        let Needed::DowntimeLimit { dirty_again, .. } = late.advice(limit).unwrap().needed else {
            panic!()
        };
        assert_eq!(dirty_again, 31_900_000);
        // Passes that are too short to be seen did not fit into the limit.
        let short =
            course(&[(20_000, 100_000_000, 1000), (50, 1000, 1000), (50, 1000, 1000)], 1000);
        let Needed::DowntimeLimit { limit: needed, .. } = short.advice(limit).unwrap().needed
        else {
            panic!()
        };
        assert!(needed > limit * 13 / 10, "{needed:?}");
    }

    /// Nothing is known of a working set before all was sent once.
    #[test]
    fn a_first_pass_that_was_not_over_is_no_reason_for_another_downtime() {
        let lines = course(&[], 160_000_000).advice(Duration::from_millis(1)).unwrap().lines();
        assert!(lines[1].contains("give --timeout at least 26 s more"), "{lines:?}");
        assert!(!lines.iter().any(|line| line.contains("--downtime-limit")), "{lines:?}");
    }

    #[test]
    fn a_limit_is_rounded_up() {
        let up = |ms| rounded_up(Duration::from_millis(ms)).as_millis();
        assert_eq!(
            [0, 7, 42, 131, 2693, 5330, 10_001].map(up),
            [1, 7, 42, 140, 2700, 5400, 11_000]
        );
    }
}
