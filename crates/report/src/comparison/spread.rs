//! How far a measure scatters among the runs of a case.

use super::change::Change;

/// With fewer runs on a side, its spread is not known.
pub(super) const RUNS_FOR_A_SPREAD: usize = 3;

/// The runs of one measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// How many runs.
    pub runs: usize,
    /// The smallest.
    pub least: f64,
    /// The one in the middle.
    pub median: f64,
    /// The largest.
    pub most: f64,
}

impl Spread {
    /// Of these, if there are any.
    pub(super) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        let (&least, &most) = (values.first()?, values.last()?);
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self { runs: values.len(), least, median: low.midpoint(high), most })
    }

    fn width(self) -> f64 {
        self.most - self.least
    }

    /// What became of a measure of which less is better, or nothing where the spread is not known.
    ///
    /// It has changed if the two ranges lie further apart than the wider of them is wide: of two sets of three
    /// runs of the same thing that happens once in 270 times, of four once in 3,000, of five almost never.
    pub(super) fn change(self, after: Self) -> Option<Change> {
        if self.runs.min(after.runs) < RUNS_FOR_A_SPREAD {
            return None;
        }
        let wider = self.width().max(after.width());
        Some(match (after.least - self.most, self.least - after.most) {
            (worse, _) if worse > wider => Change::Worse,
            (_, better) if better > wider => Change::Better,
            _ => Change::Same,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(values: &[f64]) -> Spread {
        Spread::of(values.to_vec()).unwrap()
    }

    #[test]
    fn a_spread_has_its_middle() {
        let of = spread(&[3.0, 1.0, f64::NAN, 10.0]);
        assert_eq!((of.runs, of.least, of.median, of.most), (3, 1.0, 3.0, 10.0));
        assert!((spread(&[1.0, 2.0]).median - 1.5).abs() < f64::EPSILON);
        assert_eq!(Spread::of(vec![f64::NAN]), None);
    }

    #[test]
    fn only_what_lies_beyond_the_spread_has_changed() {
        let before = spread(&[100.0, 105.0, 110.0]);
        let change = |values: &[f64]| before.change(spread(values));
        assert_eq!(change(&[101.0, 104.0, 111.0]), Some(Change::Same));
        // Apart, but no further than each is wide.
        assert_eq!(change(&[115.0, 118.0, 120.0]), Some(Change::Same));
        assert_eq!(change(&[121.0, 125.0, 130.0]), Some(Change::Worse));
        assert_eq!(change(&[80.0, 85.0, 88.0]), Some(Change::Better));
        // One run, or two, have no spread.
        assert_eq!(change(&[900.0, 901.0]), None);
    }
}
