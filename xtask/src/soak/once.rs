//! One run of a command of Memtwin's that writes a run record.

use super::options::Soak;
use super::outcome::verdicts;
use crate::interrupt::Interrupt;
use crate::run::{ProgramEnd, run};
use anyhow::{Context, bail};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A command that is repeated.
pub(super) struct Once<'s> {
    soak: &'s Soak,
    memtwin: &'s Path,
    words: &'s [&'s str],
    limit: Duration,
    folder: tempfile::TempDir,
}

impl<'s> Once<'s> {
    /// Memtwin with these words, and those that were given after `--`; with this limit, if none was given.
    ///
    /// Errors: there is no place for its record.
    pub(super) fn new(
        soak: &'s Soak,
        memtwin: &'s Path,
        words: &'s [&'s str],
        limit: Duration,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("can't make a temporary folder")?;
        let limit = soak.limit.map_or(limit, Duration::from_secs);
        Ok(Self { soak, memtwin, words, limit, folder })
    }

    /// Runs it once; the record. What it says on standard error is shown if it fails.
    ///
    /// Errors: it does not end as it must.
    pub(super) fn run(&self, interrupt: &Interrupt) -> anyhow::Result<String> {
        let record = self.folder.path().join("record.json");
        // That of the run before must not pass for this one's.
        if record.exists() {
            fs::remove_file(&record).context("can't remove the last record")?;
        }
        let errors = self.folder.path().join("stderr");
        let mut command = Command::new(self.memtwin);
        command.args(self.words).args(["--quiet", "--json"]).arg(&record);
        command.args(&self.soak.arguments).stdout(Stdio::null());
        command.stderr(File::create(&errors).context("can't make a file")?);
        let ended = run(&mut command, self.limit, interrupt)?;
        if !matches!(&ended, ProgramEnd::By(status) if status.code() == Some(self.soak.exit)) {
            let said = fs::read_to_string(&errors).unwrap_or_default();
            eprint!("{said}");
            // Its verdicts may tell why.
            let cases = fs::read_to_string(&record).ok().and_then(|record| verdicts(&record).ok());
            for (name, verdict) in cases.unwrap_or_default() {
                if !verdict.passed {
                    eprintln!("  {name}: {verdict}");
                }
            }
            bail!("{ended}, expected exit status {}", self.soak.exit);
        }
        fs::read_to_string(&record).context("no record was written")
    }
}
