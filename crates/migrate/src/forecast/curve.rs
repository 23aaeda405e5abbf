//! A dirty-rate curve: how many bytes of distinct pages a guest dirties within a time. It bends, since a
//! page that is dirtied twice is sent once: a rate alone says nothing of a working set.

use memtwin_qemu::{DirtyRate, DirtyRateError, dirtied};
use memtwin_qmp::Qmp;
use std::time::Duration;

/// The times at which it is measured, in downtime limits, and how often: the shorter, the more often,
/// as then a batch more or less counts. About the downtime limit is what decides whether a migration
/// converges (`forecast`); beyond it decides only how soon.
const TIMES: [(f64, u32); 4] = [(1.0 / 3.0, 4), (1.0, 3), (10.0 / 3.0, 1), (10.0, 1)];
/// It is measured within these, whatever the limit.
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);

/// A curve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Curve {
    /// What was measured: the times rise, the bytes do not fall.
    points: Vec<DirtyRate>,
    /// No more than that is dirtied in any time: the guest has no more.
    memory: u64,
}

impl Curve {
    /// A curve through these points, for a guest with this many bytes of memory.
    pub fn new(points: impl IntoIterator<Item = DirtyRate>, memory: u64) -> Self {
        let mut points: Vec<DirtyRate> = points.into_iter().collect();
        points.sort_by_key(|point| point.within);
        let mut most = 0;
        for point in &mut points {
            // Samples scatter; distinct pages only ever become more.
            most = point.bytes.clamp(most, memory.max(most));
            point.bytes = most;
        }
        Self { points, memory }
    }

    /// Measures one on a running guest. It takes about fifteen downtime limits.
    ///
    /// Errors: QEMU can't be asked, refuses, or is never done.
    pub fn measure(
        qmp: &mut Qmp,
        memory: u64,
        downtime_limit: Duration,
    ) -> Result<Self, DirtyRateError> {
        let mut points = Vec::new();
        for (limits, times) in TIMES {
            let within = downtime_limit.mul_f64(limits).clamp(SHORTEST, LONGEST);
            let mut sum = DirtyRate { within: Duration::ZERO, bytes: 0 };
            for _ in 0..times {
                let one = dirtied(qmp, within)?;
                sum = DirtyRate { within: sum.within + one.within, bytes: sum.bytes + one.bytes };
            }
            let bytes = sum.bytes / u64::from(times);
            points.push(DirtyRate { within: sum.within / times, bytes });
        }
        Ok(Self::new(points, memory))
    }

    /// What was measured.
    pub fn points(&self) -> &[DirtyRate] {
        &self.points
    }

    /// Bytes of distinct pages that are dirtied within a time: a straight line between two points, from
    /// nothing at the beginning, and on as between the last two; never more than the guest has.
    pub fn within(&self, time: Duration) -> f64 {
        let at = |point: &DirtyRate| (point.within.as_secs_f64(), point.bytes as f64);
        let x = time.as_secs_f64();
        let mut before = (0.0, 0.0);
        let mut slope = 0.0;
        for point in self.points.iter().map(at) {
            if point.0 > before.0 {
                slope = (point.1 - before.1) / (point.0 - before.0);
            }
            if x <= point.0 {
                break;
            }
            before = point;
        }
        (before.1 + slope * (x - before.0)).min(self.memory as f64)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A curve through points of milliseconds and megabytes.
    pub(crate) fn curve(points: &[(u64, u64)]) -> Curve {
        let point = |&(ms, mb): &(u64, u64)| DirtyRate {
            within: Duration::from_millis(ms),
            bytes: mb * 1_000_000,
        };
        Curve::new(points.iter().map(point), 256_000_000)
    }

    fn at(curve: &Curve, ms: u64) -> u64 {
        (curve.within(Duration::from_millis(ms)) / 1e6).round() as u64
    }

    #[test]
    fn it_is_straight_between_points_and_ends_with_the_memory() {
        let curve = curve(&[(100, 10), (300, 20), (1000, 90)]);
        assert_eq!([0, 50, 100, 200, 300, 650].map(|ms| at(&curve, ms)), [0, 5, 10, 15, 20, 55]);
        assert_eq!([2000, 60_000].map(|ms| at(&curve, ms)), [190, 256]);
    }

    #[test]
    fn what_scatters_down_is_taken_for_no_more() {
        let curve = curve(&[(300, 20), (100, 30), (1000, 400)]);
        assert_eq!([100, 300, 1000].map(|ms| at(&curve, ms)), [30, 30, 256]);
    }

    #[test]
    fn a_quiet_guest_dirties_nothing() {
        assert_eq!(at(&curve(&[]), 1000), 0);
        assert_eq!(at(&curve(&[(100, 0), (300, 0)]), 1000), 0);
    }

    proptest! {
        #[test]
        fn it_never_falls(points in proptest::collection::vec((1u64..5000, 0u64..500), 0..6),
            a in 0u64..10_000, b in 0u64..10_000) {
            let curve = curve(&points);
            let (a, b) = (a.min(b), a.max(b));
            prop_assert!(curve.within(Duration::from_millis(a))
                <= curve.within(Duration::from_millis(b)) + 1e-3);
        }
    }
}
