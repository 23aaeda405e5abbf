//! `cargo xtask bench`: builds the benchmark and what it measures, and runs it.

use crate::interrupt::Interrupt;
use crate::run::run;
use crate::workspace::{built, root};
use clap::Args;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// What to measure.
#[derive(Args)]
pub(crate) struct BenchArgs {
    /// pre-copy, delta, collect, scale, verify, memory, decoder, qemu [default: all of these], judge (an audit
    /// paused and running, of guests up to 12 GiB), first-pass, link (a twin on another host; link also QEMU's own migration over the same link; as root) or remote (both)
    only: Vec<String>,
    /// How often each is measured, in turns [default: 7; link: 1]
    #[arg(long)]
    turns: Option<usize>,
    /// The intervals that `link` tries, in milliseconds, with commas between [default: 16, from 100 to 1]
    #[arg(long)]
    intervals: Option<String>,
    /// Where the results are kept
    #[arg(long, default_value = "target/bench.json")]
    json: PathBuf,
}

impl BenchArgs {
    /// Runs it. Whether it ran to its end: nothing that is measured passes or fails.
    pub(crate) fn run(&self, interrupt: &Interrupt) -> anyhow::Result<bool> {
        let memtwin = built("memtwin", interrupt)?;
        let bench = built("memtwin-bench", interrupt)?;
        let mut command = Command::new(bench);
        command.arg("--memtwin").arg(memtwin).arg("--json").arg(root().join(&self.json));
        let names = self.only.iter().flat_map(|name| match name.as_str() {
            "remote" => vec!["first-pass", "link"],
            name => vec![name],
        });
        if let Some(turns) = self.turns {
            command.arg("--turns").arg(turns.to_string());
        }
        if let Some(intervals) = &self.intervals {
            command.arg("--intervals").arg(intervals);
        }
        command.args(names);
        Ok(run(&mut command, Duration::from_secs(3600), interrupt)?.is_success())
    }
}
