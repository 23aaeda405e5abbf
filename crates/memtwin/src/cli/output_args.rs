//! How results are given.

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use memtwin_report::json::JsonTarget;
use std::ffi::OsString;
use std::path::PathBuf;

/// How results are given.
#[derive(Args, Clone, Debug)]
pub(crate) struct OutputArgs {
    /// Write the run record to FILE; `-` writes it to stdout in place of the table
    #[arg(long, value_name = "FILE", value_parser = OsStringValueParser::new().try_map(json_target))]
    pub(crate) json: Option<JsonTarget>,
    /// Write the run record to FILE as a page for a browser
    #[arg(long, value_name = "FILE.html")]
    pub(crate) report: Option<PathBuf>,
    /// Write metrics to FILE, for node_exporter's textfile collector (docs/metrics.md)
    #[arg(long, value_name = "FILE")]
    pub(crate) metrics: Option<PathBuf>,
    /// How the results look on stdout
    #[arg(long, default_value = "human", value_parser = ["human", "ktap", "junit"])]
    pub(crate) format: String,
    /// No progress on stderr
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

fn json_target(given: OsString) -> Result<JsonTarget, &'static str> {
    if given.is_empty() { Err("expected a path or -") } else { Ok(JsonTarget::from(&*given)) }
}
