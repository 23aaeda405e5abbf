//! Repeats the tests of `dev/powerloss`: each run cuts the power in other ways.

use super::options::Soak;
use crate::interrupt::Interrupt;
use crate::run::{ProgramEnd, run};
use crate::workspace::root;
use anyhow::Result;
use std::process::Command;
use std::time::{Duration, Instant};

/// How often the power is cut after each system call.
const LOSSES: u32 = 20;

/// How long one run may take, unless asked otherwise.
const LIMIT: Duration = Duration::from_secs(900);

/// Runs them as often as asked. Whether nothing was found in any run, nor a control missed.
pub(super) fn soak(soak: &Soak, interrupt: &Interrupt) -> Result<bool> {
    let limit = soak.limit.map_or(LIMIT, Duration::from_secs);
    let mut failures = 0;
    for n in 1..=soak.runs {
        let began = Instant::now();
        let mut command = Command::new("cargo");
        command
            .args(["test", "--quiet", "-p", "memtwin-powerloss", "--test", "local", "--test"])
            .args(["remote", "--", "--nocapture"])
            .env("MEMTWIN_POWERLOSS_LOSSES", LOSSES.to_string())
            .env("MEMTWIN_POWERLOSS_SEED", n.to_string())
            .current_dir(root());
        let ended = run(&mut command, limit, interrupt)?;
        if ended == ProgramEnd::Interrupted {
            return Ok(false);
        }
        failures += u32::from(!ended.is_success());
        eprintln!("run {n:>3}: {ended} in {:.1} s", began.elapsed().as_secs_f64());
    }
    println!("{} runs, {LOSSES} power losses at each moment: {failures} runs failed", soak.runs);
    Ok(failures == 0)
}
