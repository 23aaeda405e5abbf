//! Repeats `memtwin check`.

use super::Soak;
use super::outcome::{Outcomes, verdicts};
use crate::interrupt::Interrupt;
use crate::run::{Ended, run};
use crate::workspace::built;
use anyhow::{Context, bail};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Runs it as often as asked; prints what differed. Whether nothing did.
pub(super) fn soak(soak: &Soak, interrupt: &Interrupt) -> anyhow::Result<bool> {
    let memtwin = built("memtwin", interrupt)?;
    let folder = tempfile::tempdir().context("can't make a temporary folder")?;
    let mut outcomes = Outcomes::default();
    let mut passed = true;
    for n in 1..=soak.runs {
        if interrupt.is_set() {
            return Ok(false);
        }
        let began = Instant::now();
        match once(soak, &memtwin, folder.path(), interrupt) {
            Ok(verdicts) => {
                let took = began.elapsed().as_secs_f64();
                eprintln!("run {n:>3}: {} cases in {took:.1} s", verdicts.len());
                outcomes.add(n, verdicts);
            }
            Err(error) => {
                eprintln!("run {n:>3}: {error:#}");
                passed = false;
            }
        }
    }
    print!("{outcomes}");
    Ok(passed && outcomes.agree())
}

/// One run; what it says on standard error is shown if it fails.
fn once(
    soak: &Soak,
    memtwin: &Path,
    folder: &Path,
    interrupt: &Interrupt,
) -> anyhow::Result<super::outcome::Verdicts> {
    let record = folder.join("record.json");
    // That of the run before must not pass for this one's.
    if record.exists() {
        fs::remove_file(&record).context("can't remove the last record")?;
    }
    let errors = folder.join("stderr");
    let mut command = Command::new(memtwin);
    command.args(["check", "--quiet", "--json"]).arg(&record).args(&soak.arguments);
    command.stdout(Stdio::null()).stderr(File::create(&errors).context("can't make a file")?);
    let ended = run(&mut command, Duration::from_secs(soak.limit), interrupt)?;
    if !matches!(&ended, Ended::By(status) if status.code() == Some(soak.exit)) {
        let said = fs::read_to_string(&errors).unwrap_or_default();
        eprint!("{said}");
        // Its verdicts may tell why.
        let cases = fs::read_to_string(&record).ok().and_then(|record| verdicts(&record).ok());
        for (name, verdict) in cases.unwrap_or_default() {
            if !verdict.passed {
                eprintln!("  {name}: {verdict}");
            }
        }
        bail!("{ended}, expected exit status {}", soak.exit);
    }
    let record = fs::read_to_string(&record).context("no record was written")?;
    verdicts(&record)
}
