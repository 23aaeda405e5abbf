//! The load, and what it is to keep up with it: the same for Memtwin and for QEMU.

use anyhow::{Result, ensure};
use memtwin_replicate::CancelToken;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// The window's length in bytes.
pub(super) const WINDOW: u32 = 256 << 20;
/// How many pages a batch dirties.
pub(super) const BATCH: u32 = 2048;
/// What a link of 1 Gbit/s carries, in bytes per second (TCP over veth, measured).
const LINK: f64 = 119.6e6;
/// How long the guest may stand still at the end: QEMU's own default for its downtime-limit.
pub(super) const DOWNTIME: Duration = Duration::from_millis(300);
/// What fits into that.
pub(super) const FITS: f64 = LINK * 0.3;
/// How long an attempt may take, from its first page on.
pub(super) const LIMIT: Duration = Duration::from_secs(30);
/// How long the load has been on before.
const SETTLE: Duration = Duration::from_secs(1);
/// A load that does less than this part of its batches is not that load.
const LEAST_DONE: f64 = 0.95;

/// The time from one batch to the next, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
pub(super) struct Interval(pub(super) f64);

impl Interval {
    /// As a time.
    pub(super) fn time(self) -> Duration {
        Duration::from_secs_f64(self.0 / 1e3)
    }

    /// Batches per second.
    pub(super) fn rate(self) -> f64 {
        1e3 / self.0
    }
}

/// Lets a load that was just switched on come to its pace.
pub(super) fn settle(stop: &CancelToken) -> Result<()> {
    ensure!(!stop.wait(SETTLE), "interrupted");
    Ok(())
}

/// What an attempt to keep up came to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LoadAttempt {
    pub(crate) variant: &'static str,
    pub(crate) turn: usize,
    pub(crate) interval_ms: f64,
    /// Whether what was left to send came to fit into the downtime.
    pub(crate) fitted: bool,
    /// Rounds, or QEMU's collections of its log.
    pub(crate) rounds: u64,
    /// Seconds from the first page until it fitted, or until it was given up.
    pub(crate) seconds: f64,
    /// Batches per second: what was asked for, and what the guest did in these seconds.
    pub(crate) wanted: f64,
    pub(crate) done: f64,
    /// What else there is to say.
    pub(crate) more: String,
}

impl LoadAttempt {
    /// Whether the guest did what it was to do.
    pub(super) fn is_loaded(&self) -> bool {
        self.done >= self.wanted * LEAST_DONE
    }

    /// Whether it keeps up with this load.
    pub(super) fn converged(&self) -> bool {
        self.fitted && self.is_loaded()
    }
}

impl fmt::Display for LoadAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { variant, interval_ms, rounds, seconds, wanted, done, more, .. } = self;
        let outcome = match (self.fitted, self.is_loaded()) {
            (true, true) => "yes",
            (false, true) => "no",
            (true, false) => "load missed",
            (false, false) => "no, load missed",
        };
        write!(
            f,
            "  {variant:<24}  {interval_ms:>5} ms  {wanted:>6.1}/s  {done:>6.1}/s  {rounds:>6}  {seconds:>6.1} s  {outcome:<15}  {more}"
        )
    }
}
