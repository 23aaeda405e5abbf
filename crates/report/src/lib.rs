//! What a run says of itself: the end of the way of the data, dirty log -> round -> twin ->
//! verdict -> report.
//!
//! A run becomes a [`record::RunRecord`]. Everything that is said at its end is derived from that
//! record alone: the [exit code](exit), the [table](human), [KTAP](ktap), [JUnit](junit), JSON,
//! [metrics].
//! While it runs, [`progress`] and [`Recorder`] listen to the engine's events.

#![forbid(unsafe_code)]

pub mod board_matrix;
mod case_tally;
pub mod comparison;
pub mod exit;
mod failure;
pub mod headline;
pub mod human;
pub mod json;
pub mod junit;
pub mod ktap;
pub mod metrics;
pub mod progress;
pub mod record;
mod recorder;
pub mod save;
mod text;
pub mod writer;

pub use exit::ExitCode;
pub use failure::Failure;
pub use progress::{Progress, ProgressMode};
pub use record::{Case, CaseBuilder, RunRecord, rfc3339};
pub use recorder::{HeatRecorder, Recorder, started};
pub use text::{clipped, count, one_line, outcome, plain, shown, time};
pub use writer::{Format, write_report};
