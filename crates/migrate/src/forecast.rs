//! Whether a pre-copy migration will converge, from a dirty-rate curve, the link and the downtime limit,
//! before it is tried.
//!
//! QEMU's rule (`migration_iteration_run` in migration/migration.c): it sends until less is left than the
//! link carries within the downtime limit, then collects the dirty log. If still less than that is left
//! it stops the guest and sends the rest; else it goes on. So a pass that begins with `p` bytes left takes
//! `t = (p - limit) / link`, and the next one begins with what is unsent and `curve(t)`; but, once every
//! page was sent, with no more than what was dirtied since. Neither falls when `p` or the time rises, so
//! once a pass begins with no less than the one before it, no later one will: it never converges.
//! docs/migrate.md has the argument in words.

pub mod curve;

use curve::Curve;
use std::time::Duration;

/// QEMU looks at what is left once in 50 ms, and sends meanwhile (`MAX_WAIT` in migration/ram.c): a
/// pass is longer by half of that on the average.
const LATE: Duration = Duration::from_millis(25);
/// A pass must begin with less than the one before by this part to be said to get on: less is none.
const PROGRESS: f64 = 1e-3;

/// A link and what is asked of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ForecastInput {
    /// Bytes per second that it carries.
    pub link: f64,
    /// Bytes that travel before any page is sent twice.
    pub first: u64,
    /// How long these take at least, whatever the link: pages of zeros are read too.
    pub first_takes: Duration,
    /// How long the guest may stand still.
    pub downtime_limit: Duration,
    /// When it is given up.
    pub timeout: Duration,
}

/// What will come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forecast {
    /// It converges.
    Converges {
        /// After this many passes.
        rounds: u64,
        /// Before the guest is stopped.
        within: Duration,
    },
    /// It would, after the time limit.
    TooLate {
        /// When.
        within: Duration,
    },
    /// It never does.
    Never {
        /// Bytes that are left when each pass begins, again and again.
        left: u64,
    },
}

impl Forecast {
    /// Whether the guest will have moved when it is given up.
    pub fn moves(&self) -> bool {
        matches!(self, Self::Converges { .. })
    }
}

impl std::fmt::Display for Forecast {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Converges { rounds, within } => {
                write!(f, "converges, {rounds} rounds, {:.1} s", within.as_secs_f64())
            }
            Self::TooLate { within } => write!(f, "too late, {:.0} s", within.as_secs_f64()),
            Self::Never { left } => {
                write!(f, "never, {:.0} MB are left each time", *left as f64 / 1e6)
            }
        }
    }
}

/// Tells what will come of it.
pub fn forecast(curve: &Curve, asked: &ForecastInput) -> Forecast {
    let link = asked.link.max(1.0);
    let limit = link * asked.downtime_limit.as_secs_f64();
    let mut left = asked.first as f64;
    let mut time = Duration::ZERO;
    for round in 1.. {
        let needed = Duration::try_from_secs_f64((left - limit).max(0.0) / link);
        let mut takes = needed.unwrap_or(Duration::MAX).saturating_add(LATE);
        if round == 1 {
            takes = takes.max(asked.first_takes);
        }
        time = time.saturating_add(takes);
        let unsent = (left - link * takes.as_secs_f64()).max(0.0);
        let mut next = unsent + curve.within(takes);
        if round > 1 {
            next = next.min(curve.within(time));
        }
        if next < limit {
            return if time <= asked.timeout {
                Forecast::Converges { rounds: round, within: time }
            } else {
                Forecast::TooLate { within: time }
            };
        }
        // The first pass is another matter: it may begin with less than later ones, or take longer.
        if round > 1 && next >= left * (1.0 - PROGRESS) {
            break;
        }
        left = next;
    }
    Forecast::Never { left: left as u64 }
}

#[cfg(test)]
mod tests {
    use super::curve::tests::curve;
    use super::*;

    const S: Duration = Duration::from_secs(1);

    /// 200 MB first, over a link of this many megabytes per second, with 300 ms of downtime.
    fn over(mb_per_second: u64) -> ForecastInput {
        ForecastInput {
            link: mb_per_second as f64 * 1e6,
            first: 200_000_000,
            first_takes: Duration::ZERO,
            downtime_limit: Duration::from_millis(300),
            timeout: 60 * S,
        }
    }

    #[test]
    fn a_quiet_guest_takes_one_round() {
        let quiet = curve(&[(300, 0)]);
        let Forecast::Converges { rounds, within } = forecast(&quiet, &over(100)) else {
            panic!("it must");
        };
        // All but what fits into 300 ms.
        assert_eq!((rounds, within.as_millis()), (1, 1725));
    }

    #[test]
    fn a_steady_guest_converges_over_a_link_that_is_faster_and_over_no_other() {
        // 50 MB/s, up to the guest's memory.
        let steady = curve(&[(100, 5), (300, 15), (1000, 50), (3000, 150)]);
        assert!(forecast(&steady, &over(100)).moves());
        assert!(forecast(&steady, &over(60)).moves());
        assert!(matches!(forecast(&steady, &over(50)), Forecast::Never { .. }));
        let Forecast::Never { left } = forecast(&steady, &over(25)) else { panic!("it can't") };
        // All of its memory is dirty again each time.
        assert!((200..=264).contains(&(left / 1_000_000)), "{left}");
    }

    #[test]
    fn a_small_working_set_converges_once_it_fits_into_the_downtime() {
        // It writes 100 MB/s and more, always the same 8 MB.
        let small = curve(&[(100, 8), (300, 8), (1000, 8), (3000, 8)]);
        assert!(forecast(&small, &over(30)).moves(), "9 MB go in 300 ms");
        assert!(!forecast(&small, &over(20)).moves(), "6 MB go in 300 ms");
        let patient = ForecastInput { downtime_limit: S / 2, ..over(20) };
        assert!(forecast(&small, &patient).moves(), "10 MB go in 500 ms");
    }

    #[test]
    fn what_decides_is_the_curve_about_the_downtime_limit() {
        // On the average of three seconds 20 MB/s, of 100 ms 100 MB/s.
        let bent = curve(&[(100, 10), (300, 20), (1000, 40), (3000, 60)]);
        assert!(!forecast(&bent, &over(25)).moves());
        assert!(forecast(&bent, &over(110)).moves());
    }

    #[test]
    fn a_time_limit_is_kept() {
        let steady = curve(&[(100, 5), (1000, 50), (3000, 150)]);
        let asked = ForecastInput { timeout: 3 * S, ..over(60) };
        let Forecast::TooLate { within } = forecast(&steady, &asked) else { panic!("too late") };
        assert!(within > 3 * S && within < 60 * S, "{within:?}");
        let slow = ForecastInput { first_takes: 90 * S, ..over(100) };
        assert!(matches!(forecast(&curve(&[]), &slow), Forecast::TooLate { .. }));
    }

    #[test]
    fn a_link_that_is_dead_is_no_endless_loop() {
        assert!(!forecast(&curve(&[(100, 5)]), &over(0)).moves());
        assert!(!forecast(&curve(&[]), &over(0)).moves());
    }
}
