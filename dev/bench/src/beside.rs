//! Two things measured in turns, and their ratio.

use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    /// What was measured.
    pub(crate) what: String,
    /// Ours: the median, and all, in seconds (or bytes, for memory).
    pub(crate) ours: f64,
    pub(crate) ours_all: Vec<f64>,
    /// What stands beside it.
    pub(crate) beside: String,
    pub(crate) theirs: f64,
    pub(crate) theirs_all: Vec<f64>,
    /// The ratio in question, by name, and what was aimed at.
    pub(crate) ratio: f64,
    pub(crate) aim: String,
    pub(crate) met: bool,
    /// In which unit the two are given.
    pub(crate) unit: &'static str,
}

/// Which way a ratio is to go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Aim {
    /// Theirs / ours: how many times as fast we are, at least.
    Faster(f64),
    /// Ours / theirs: how many times as much we cost, at most.
    Cost(f64),
    /// Ours / theirs, for whoever wants to know.
    Reported,
}

impl Measured {
    /// From the times of both, taken in turns.
    pub(crate) fn of(
        what: impl Into<String>,
        ours: &[Duration],
        beside: impl Into<String>,
        theirs: &[Duration],
        aim: Aim,
    ) -> Self {
        let seconds = |times: &[Duration]| times.iter().map(Duration::as_secs_f64).collect();
        Self::of_numbers(what, seconds(ours), beside, seconds(theirs), aim, "s")
    }

    pub(crate) fn of_numbers(
        what: impl Into<String>,
        ours_all: Vec<f64>,
        beside: impl Into<String>,
        theirs_all: Vec<f64>,
        aim: Aim,
        unit: &'static str,
    ) -> Self {
        let (ours, theirs) = (median(&ours_all), median(&theirs_all));
        let (ratio, met, aim) = match aim {
            Aim::Faster(least) => {
                let ratio = theirs / ours;
                (ratio, ratio >= least, format!("at least {least} times as fast"))
            }
            Aim::Cost(most) => {
                let ratio = ours / theirs;
                (ratio, ratio <= most, format!("at most {most} times the cost"))
            }
            Aim::Reported => (ours / theirs, true, REPORTED.to_owned()),
        };
        Self {
            what: what.into(),
            ours,
            ours_all,
            beside: beside.into(),
            theirs,
            theirs_all,
            ratio,
            aim,
            met,
            unit,
        }
    }
}

/// What stands in an aim's place.
const REPORTED: &str = "no aim";

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, ours, beside, theirs, ratio, aim, met, unit, .. } = self;
        let (ours, theirs) = (Quantity(*ours, unit), Quantity(*theirs, unit));
        write!(f, "{what}: {ours}; {beside}: {theirs}; ratio {ratio:.2} ({aim}")?;
        match (aim.as_str(), met) {
            (REPORTED, _) => f.write_str(")"),
            (_, true) => f.write_str(": met)"),
            (_, false) => f.write_str(": MISSED)"),
        }
    }
}

struct Quantity<'a>(f64, &'a str);

impl fmt::Display for Quantity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            "s" if self.0 < 1e-3 => write!(f, "{:.1} µs", self.0 * 1e6),
            "s" => write!(f, "{:.1} ms", self.0 * 1e3),
            "ms" => write!(f, "{} ms", self.0),
            unit => write!(f, "{:.0} {unit}", self.0),
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
