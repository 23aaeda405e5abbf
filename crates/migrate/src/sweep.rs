//! A sweep: one guest moves to and fro under loads that grow, over links of several bandwidths. Of each
//! move it is predicted whether it will converge (`crate::forecast`), then it is tried, and both
//! are told side by side. docs/migrate.md describes it.

mod attempt;
mod bandwidth;
mod conclusion;
mod load;
mod run;
mod search;
mod table;

pub(crate) use run::{check, run};

use crate::bit_rate::BitRate;

/// The link on which the smallest interval is looked for: that of the reference setup.
pub(crate) const GIGABIT: BitRate = BitRate(1_000_000_000);
