//! `--sweep`: one guest moves to and fro under loads that grow, over links of several bandwidths. Of each
//! move it is foretold whether it will converge (`memtwin_migrate::forecast`), then it is tried, and both
//! are told side by side. docs/migrate.md describes it.

mod attempt;
mod conclusion;
mod course;
mod link;
mod load;
mod search;
mod table;

pub(super) use course::{check, run};

use crate::values::BitRate;
use clap::Args;
use std::str::FromStr;

/// The link on which the smallest interval is looked for: that of 2014.
pub(super) const GIGABIT: BitRate = BitRate(1_000_000_000);

/// `--sweep`, and what belongs to it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Sweep")]
pub(crate) struct SweepArgs {
    /// Try a grid of dirty rates and bandwidths, and tell what was foretold beside what came of it
    /// (docs/migrate.md)
    #[arg(long, conflicts_with_all = ["hops", "bandwidth", "no_load", "fault"])]
    pub(crate) sweep: bool,
    /// The load's intervals, in milliseconds; a single --load gives its pages
    #[arg(long, value_delimiter = ',', default_value = "50,20,10,5", requires = "sweep", value_name = "MS,…", value_parser = clap::value_parser!(u64).range(1..60_000))]
    pub(crate) sweep_intervals: Vec<u64>,
    /// The bandwidths, in bits per second (100M is 12.5 million bytes per second)
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "100M,1G",
        requires = "sweep",
        value_name = "BITS,…"
    )]
    pub(crate) sweep_bandwidths: Vec<BitRate>,
    /// Between which intervals, in milliseconds, to look for the smallest one that converges on
    /// 1 Gbit/s; `none`: it is not looked for
    #[arg(long, default_value = "1,50", requires = "sweep", value_name = "MS,MS|none")]
    pub(crate) sweep_bounds: Bounds,
}

/// Where the smallest interval is looked for, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds(pub(crate) Option<(u64, u64)>);

impl FromStr for Bounds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let both = text
            .split_once(',')
            .and_then(|(low, high)| Some((low.parse::<u64>().ok()?, high.parse::<u64>().ok()?)));
        match both {
            Some((low, high)) if low >= 1 && low <= high && high < 60_000 => {
                Ok(Self(Some((low, high))))
            }
            _ => Err(format!("'{text}': expected none, or two numbers of milliseconds, as 1,50")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds() {
        assert_eq!("2,40".parse(), Ok(Bounds(Some((2, 40)))));
        assert_eq!("none".parse(), Ok(Bounds(None)));
        for bad in ["", "5", "0,5", "9,5", "1,x", "1,2,3", "1,60000"] {
            assert!(bad.parse::<Bounds>().is_err(), "'{bad}' was taken");
        }
    }
}
