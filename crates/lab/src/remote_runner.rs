//! Our own commands on another machine. What they come to is a run record: written there as JSON by
//! `memtwin … --json`, and fetched when the command has ended; or, of `memtwin check`, told in pieces as its
//! cases end ([`crate::pieces`]), so that it is known also when the machine dies.

mod console;
mod error;
#[cfg(test)]
mod tests;

pub use console::{check_image, check_on_console};
pub use error::RemoteError;

use crate::cross::{self, CrossError, MEMTWIN};
use crate::host::{self, Host, HostError, quoted};
use crate::pieces::Pieces;
use crate::{Arch, Progress, Reply, Silent};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a small thing may take on another machine.
const SHORT_TIMEOUT: Duration = Duration::from_secs(120);
/// How the names of our folders there begin.
const FOLDER: &str = "/tmp/memtwin-";
/// The line before what a command returned.
const RETURNED: &str = "MEMTWIN RETURNED ";

/// What came of a command of ours on another machine.
#[derive(Clone, Debug, PartialEq)]
pub struct RunOutput {
    /// What it returned: one of Memtwin's exit codes.
    pub rc: i32,
    /// Its run record.
    pub record: Value,
    /// Of a check: what it said besides, line by line: its table, or what it complained of.
    pub said: Vec<String>,
}

/// A machine that runs our commands.
#[derive(Debug)]
pub struct RemoteRunner {
    host: Arc<dyn Host>,
    /// Memtwin's command there.
    memtwin: String,
    /// For files of ours there.
    folder: String,
    /// Whether the folder is of our making, to be removed.
    is_own: bool,
}

impl RemoteRunner {
    /// A machine that has Memtwin in its PATH, and forgets what is in /tmp by itself.
    pub fn installed(host: Arc<dyn Host>) -> Self {
        Self { host, memtwin: MEMTWIN.to_owned(), folder: "/tmp".to_owned(), is_own: false }
    }

    /// A machine that is given Memtwin: makes a folder there, which is removed when this is dropped.
    ///
    /// Errors: the machine is not reached.
    pub fn with_folder(
        host: Arc<dyn Host>,
        progress: &mut dyn Progress,
    ) -> Result<Self, HostError> {
        let line = format!("mktemp -d {FOLDER}XXXXXX");
        let folder = host::run(&*host, &line, SHORT_TIMEOUT, progress)?.trim().to_owned();
        let memtwin = format!("{folder}/{MEMTWIN}");
        Ok(Self { host, memtwin, folder, is_own: true })
    }

    /// Puts Memtwin there: the program that is given, or one that is built for the machine.
    ///
    /// Errors: it can't be built, or the machine is not reached.
    pub fn install(
        &self,
        program: Option<&Path>,
        progress: &mut dyn Progress,
    ) -> Result<(), RemoteError> {
        let program = match program {
            Some(program) => program.to_owned(),
            None => self.built(progress)?,
        };
        Ok(self.host.put(&program, &self.memtwin, 0o755)?)
    }

    /// The machine.
    pub fn host(&self) -> &dyn Host {
        &*self.host
    }

    /// The folder for files of ours there.
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// The machine's architecture, as it says it.
    ///
    /// Errors: it is not reached.
    pub fn machine(&self, progress: &mut dyn Progress) -> Result<String, HostError> {
        let said = host::run(&*self.host, "uname -m", SHORT_TIMEOUT, progress)?;
        Ok(said.trim().to_owned())
    }

    /// Memtwin, built for the machine.
    fn built(&self, progress: &mut dyn Progress) -> Result<PathBuf, RemoteError> {
        let said = self.machine(progress)?;
        let arch: Arch = said.parse().map_err(|_| RemoteError::Arch {
            host: self.host.name().to_owned(),
            arch: said.clone(),
        })?;
        let programs = cross::build(&cross::source(None)?, arch, &[MEMTWIN], progress)?;
        let program = programs.into_iter().find(|path| path.ends_with(MEMTWIN));
        program.ok_or_else(|| CrossError::Nothing { packages: MEMTWIN.to_owned() }.into())
    }

    /// Runs `memtwin check` with these arguments there.
    ///
    /// Errors: the machine is not reached, or the check does not end within `limit`;
    /// [`RemoteError::Broken`] if some of its cases have ended before.
    pub fn check(
        &self,
        arguments: &[String],
        limit: Duration,
        progress: &mut dyn Progress,
    ) -> Result<RunOutput, RemoteError> {
        let words: Vec<String> = arguments.iter().map(|word| quoted(word)).collect();
        let check = check_line(&self.memtwin, &self.folder, &words.join(" "));
        let line = format!("{check}; echo; echo $rc");
        let mut pieces = Pieces::default();
        let mut heard = |line: &str| pieces.take(line);
        let said = host::run_heard(&*self.host, &line, limit, progress, &mut heard);
        let reply = said.map(|said| {
            let mut output: Vec<String> = said.lines().map(str::to_owned).collect();
            // A number that can't be read is no success.
            let rc = output.pop().and_then(|rc| rc.trim().parse().ok()).unwrap_or(-1);
            if output.last().is_some_and(String::is_empty) {
                output.pop();
            }
            Reply { rc, output }
        });
        output_of_pieces(reply.map_err(RemoteError::from), pieces)
    }

    /// Runs `memtwin WORDS --json …` there, and fetches the record; what it complains of is progress.
    ///
    /// Errors: the machine is not reached, or it does not end within `limit`, or it leaves no record.
    pub fn run(
        &self,
        words: &[String],
        limit: Duration,
        progress: &mut dyn Progress,
    ) -> Result<RunOutput, RemoteError> {
        let (folder, memtwin) = (&self.folder, &self.memtwin);
        let record = format!("{folder}/record.json");
        let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        // Its table is made here, of the record.
        let line = format!(
            "rm -f {record}; TMPDIR={folder} {memtwin} {} --json {record} >/dev/null; \
             echo \"{RETURNED}$?\"; test -e {record}",
            words.join(" ")
        );
        let said = match host::run_aloud(&*self.host, &line, limit, progress) {
            Ok(said) => said,
            // It left none; what it complained of tells why.
            Err(HostError::Failed { rc: 1, last, .. }) => {
                return Err(RemoteError::NoRecord { rc: 1, said: last });
            }
            Err(error) => return Err(error.into()),
        };
        let returned = said.lines().last().and_then(|line| line.strip_prefix(RETURNED));
        let rc = returned.and_then(|rc| rc.parse().ok()).unwrap_or(-1);
        let record = self.fetch(&record)?;
        let record = serde_json::from_str(&record).map_err(|error| RemoteError::NoRecord {
            rc,
            said: vec![format!("its record: {error}")],
        })?;
        Ok(RunOutput { rc, record, said: Vec::new() })
    }

    /// The text of a file there.
    fn fetch(&self, path: &str) -> Result<String, HostError> {
        let at = |error| HostError::File { path: std::env::temp_dir(), error };
        let folder = tempfile::Builder::new().prefix("memtwin-lab-").tempdir().map_err(at)?;
        let here = folder.path().join("record.json");
        self.host.get(path, &here)?;
        fs::read_to_string(&here).map_err(|error| HostError::File { path: here.clone(), error })
    }
}

impl Drop for RemoteRunner {
    fn drop(&mut self) {
        // A machine that is not reached any more keeps it.
        if self.is_own && self.folder.starts_with(FOLDER) {
            let line = format!("rm -rf {}", quoted(&self.folder));
            let _ = host::run(&*self.host, &line, SHORT_TIMEOUT, &mut Silent);
        }
    }
}

/// A shell line that runs a check and shows its record, in pieces as its cases end, and what it said;
/// `$rc` is what it returned. Its table goes not to a console at once: it is a terminal.
fn check_line(memtwin: &str, folder: &str, words: &str) -> String {
    let said = format!("{folder}/said");
    format!("{memtwin} check --quiet --pieces {words} 2>&1 >{said}; rc=$?; cat {said}")
}

/// What came of a check, by the pieces of its record.
fn output_of_pieces(
    reply: Result<Reply, RemoteError>,
    pieces: Pieces,
) -> Result<RunOutput, RemoteError> {
    let (expected, came) = (pieces.expected(), pieces.came());
    let error = match (reply, pieces.record()) {
        (Ok(Reply { rc, output: said }), None) => RemoteError::NoRecord { rc, said },
        (Ok(Reply { rc, output: said }), Some(record)) if expected == Some(came) => {
            return Ok(RunOutput { rc, record, said });
        }
        (Ok(_), Some(record)) => {
            let expected = expected.map_or("?".to_owned(), |expected| expected.to_string());
            RemoteError::Torn { expected, came }.with_record(record)
        }
        (Err(error), None) => error,
        (Err(error), Some(record)) => error.with_record(record),
    };
    Err(error)
}
