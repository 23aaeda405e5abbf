//! What is repeated, and how often.

use clap::{Args, ValueEnum};
use std::time::Duration;

/// How long most runs may take.
pub(super) const LIMIT: Duration = Duration::from_secs(180);

/// What to repeat, and how often.
#[derive(Args)]
pub(crate) struct Soak {
    /// What to repeat
    #[arg(value_enum, default_value_t = SoakTarget::Check)]
    pub(super) what: SoakTarget,
    /// How often
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) runs: u32,
    /// How many seconds one run may take [default: 180; `migrate`: 1500; `powerloss`: 900; `promises`: 1200]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) limit: Option<u64>,
    /// The exit code that each run of `check` or `migrate` must end with
    #[arg(long, default_value_t = 0)]
    pub(super) exit: i32,
    /// `check`, `migrate`: passed on to each run; `audit`, `judge`: the scenarios [default: every sound one]
    #[arg(last = true)]
    pub(super) arguments: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum SoakTarget {
    /// `memtwin check`: the same verdict for every case
    Check,
    /// `memtwin audit` of the layouts of QEMU that are sound: no lost page, and the control found
    Audit,
    /// The same with `--judge running`: no suspect is confirmed
    Judge,
    /// `memtwin lab run migrate`: the same verdicts each time, and the spread of its clocks
    Migrate,
    /// `memtwin receive`, killed with -9 at random: never a torn twin, always an equal one at the end
    Receive,
    /// A power loss after every system call of a twin's writer and of its receiver: nothing is taken for
    /// whole that is not, and no acknowledged round is lost
    Powerloss,
    /// The tests behind docs/promises.md, counted by promise
    Promises,
}
