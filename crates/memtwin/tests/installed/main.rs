//! What an administrator installs beside the program: manual pages, completions, metrics, units of systemd.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

#[path = "../common/mod.rs"]
mod common;
mod manual;
mod metrics;
mod units;
