//! `cargo xtask fuzz`: a fuzz target with AddressSanitizer for a while. The tests run the same
//! target's seeds, changed in a bounded number of ways; this goes further, and needs a nightly
//! toolchain and cargo-fuzz.

use crate::interrupt::Interrupt;
use crate::run::run;
use crate::workspace::{root, works};
use anyhow::{Context, bail};
use clap::Args;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// How long building it may take beside the time that it runs.
const BUILD: Duration = Duration::from_secs(1200);

/// What to fuzz, and how long.
#[derive(Args)]
pub(crate) struct Fuzz {
    /// The target: a file of fuzz/fuzz_targets
    #[arg(default_value = "stream")]
    target: String,
    /// For how many seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

impl Fuzz {
    /// Runs it. Whether nothing was found.
    pub(crate) fn run(&self, interrupt: &Interrupt) -> anyhow::Result<bool> {
        // The cargo that runs us is of one toolchain; rustup knows them all.
        let nightly = || {
            let mut command = Command::new("rustup");
            command.args(["run", "nightly", "cargo", "fuzz"]).current_dir(root());
            command
        };
        if !works(nightly().arg("--version")) {
            bail!(
                "needs a nightly toolchain and cargo-fuzz: rustup toolchain install nightly; cargo install cargo-fuzz"
            );
        }
        // What it finds worth keeping goes into the first folder.
        let Self { target, seconds } = self;
        let corpus = format!("fuzz/corpus/{target}");
        let path = root().join(&corpus);
        fs::create_dir_all(&path).with_context(|| format!("can't make {}", path.display()))?;
        let mut command = nightly();
        command.args(["run", target, &corpus, &format!("fuzz/seeds/{target}"), "--"]);
        command.arg(format!("-max_total_time={seconds}")).arg("-max_len=16384");
        let limit = BUILD + Duration::from_secs((*seconds).into());
        Ok(run(&mut command, limit, interrupt)?.is_success())
    }
}
