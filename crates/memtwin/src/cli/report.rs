//! The words of `memtwin report`.

use clap::{ArgAction, Args};
use std::path::PathBuf;

/// `memtwin report`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Report {
    /// The run records, as --json writes them
    #[arg(
        value_name = "RUN.json",
        required_unless_present = "compare",
        conflicts_with = "compare"
    )]
    pub(crate) records: Vec<PathBuf>,
    /// Say what is worse in B than in A; given again, each pair is one more run of either side
    #[arg(long, num_args = 2, value_names = ["A.json", "B.json"], action = ArgAction::Append)]
    pub(crate) compare: Vec<PathBuf>,
    /// Write the page to FILE
    #[arg(long, short, value_name = "FILE", required_unless_present = "compare")]
    pub(crate) output: Option<PathBuf>,
}
