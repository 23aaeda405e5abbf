//! What is tried on boards: our own commands, run there.

#[cfg(test)]
mod tests;

use crate::board::ConsoleBoard;
use crate::cross::{self, CrossError, MEMTWIN};
use crate::host::{self, Host, HostError};
use crate::image::{Image, ImageError, ImageSpec, SUITE};
use crate::pieces::{self, Pieces};
use crate::{Arch, Cache, CacheError, Flavour, MachineError, Progress, Reply, Silent};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a small thing may take on another machine.
const SHORT: Duration = Duration::from_secs(120);

/// Why an experiment says nothing.
#[derive(Debug, thiserror::Error)]
pub enum ExperimentError {
    /// Memtwin can't be built for the board.
    #[error(transparent)]
    Cross(#[from] CrossError),
    /// There is no place for what is built.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// There is nothing to boot.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The board does not come up, or dies.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// Another machine is not reached, or does not do as it is told.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A machine that we have no program for.
    #[error("{host}: its architecture is {arch}, and Memtwin is for aarch64 and x86_64")]
    Arch {
        /// The machine.
        host: String,
        /// What it says.
        arch: String,
    },
    /// An argument that can't be given over a console.
    #[error("'{argument}': an argument for a board has no line break and no quotation mark")]
    Argument {
        /// The argument.
        argument: String,
    },
    /// The command on the board has left no record.
    #[error("memtwin on the board returned {rc} and no record{}", crate::command::indented(said))]
    NoRecord {
        /// What it returned.
        rc: i32,
        /// What it said.
        said: Vec<String>,
    },
    /// Not all of its record was legible.
    #[error("of {expected} cases on the board, the records of {came} came whole")]
    Torn {
        /// How many cases there were; `?` if that was not heard.
        expected: String,
        /// How many are known.
        came: usize,
    },
    /// It broke off, and some cases had ended before.
    #[error("{error}")]
    Broken {
        /// Why.
        error: Box<ExperimentError>,
        /// The record of the cases that had ended.
        record: Value,
    },
}

/// What came of a command of ours on a board.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What it returned: one of Memtwin's exit codes.
    pub rc: i32,
    /// Its run record.
    pub record: Value,
    /// What it said besides, line by line: its table, or what it complained of.
    pub said: Vec<String>,
}

/// A kernel and an initramfs with Memtwin's own command.
///
/// Errors: it can't be built.
pub fn image(flavour: Flavour, progress: &mut dyn Progress) -> Result<Image, ExperimentError> {
    let source = cross::source(None)?;
    let programs = cross::build(&source, Arch::Aarch64, &[MEMTWIN], progress)?;
    let cache = Cache::open(&Cache::place()?, progress)?;
    let spec = ImageSpec {
        arch: Arch::Aarch64,
        suite: SUITE,
        kernel: flavour,
        modules: &[],
        programs: &programs,
        files: &[],
    };
    Ok(spec.build(&cache, progress)?)
}

/// Runs `memtwin check` with these arguments on a board.
///
/// Errors: the board dies, or the check does not end within `limit`; [`ExperimentError::Broken`] if some of
/// its cases have ended before.
pub fn check_on(
    board: &mut ConsoleBoard,
    arguments: &[String],
    limit: Duration,
    progress: &mut dyn Progress,
) -> Result<Outcome, ExperimentError> {
    let words = arguments.iter().map(|word| quoted(word)).collect::<Result<Vec<_>, _>>()?;
    let order = format!("run {}; exit $rc", line("memtwin", "/run", &words.join(" ")));
    let mut pieces = Pieces::default();
    let mut heard = |line: &str| pieces.take(line);
    let reply = board.machine.order_heard(&order, limit, progress, &mut heard);
    outcome(reply.map_err(|error| error.without(pieces::is_one).into()), pieces)
}

/// A shell line that runs a check and shows its record, in pieces as its cases end, and what it said;
/// `$rc` is what it returned. Its table goes not to a console at once: it is a terminal.
fn line(memtwin: &str, folder: &str, words: &str) -> String {
    let said = format!("{folder}/said");
    format!("{memtwin} check --quiet --pieces {words} 2>&1 >{said}; rc=$?; cat {said}")
}

/// Memtwin in a folder of its own on a machine, which is removed when this is dropped.
#[derive(Debug)]
pub struct Visit<'h> {
    host: &'h dyn Host,
    folder: String,
}

impl<'h> Visit<'h> {
    /// Puts Memtwin there: the program that is given, or one that is built for the machine.
    ///
    /// Errors: it can't be built, or the machine is not reached.
    pub fn begin(
        host: &'h dyn Host,
        program: Option<&Path>,
        progress: &mut dyn Progress,
    ) -> Result<Self, ExperimentError> {
        let program = match program {
            Some(program) => program.to_owned(),
            None => built_for(host, progress)?,
        };
        let folder = host::run(host, "mktemp -d /tmp/memtwin-XXXXXX", SHORT, progress)?;
        let visit = Self { host, folder: folder.trim().to_owned() };
        host.put(&program, &format!("{}/memtwin", visit.folder), 0o755)?;
        Ok(visit)
    }

    /// Runs `memtwin check` with these arguments there.
    ///
    /// Errors: the machine is not reached, or the check does not end within `limit`;
    /// [`ExperimentError::Broken`] if some of its cases have ended before.
    pub fn check(
        &self,
        arguments: &[String],
        limit: Duration,
        progress: &mut dyn Progress,
    ) -> Result<Outcome, ExperimentError> {
        let words: Vec<String> = arguments.iter().map(|word| host::quoted(word)).collect();
        let memtwin = format!("{}/memtwin", self.folder);
        let line = format!("{}; echo; echo $rc", line(&memtwin, &self.folder, &words.join(" ")));
        let mut pieces = Pieces::default();
        let mut heard = |line: &str| pieces.take(line);
        let said = host::run_heard(self.host, &line, limit, progress, &mut heard);
        let reply = said.map(|said| {
            let mut output: Vec<String> = said.lines().map(str::to_owned).collect();
            // A number that can't be read is no success.
            let rc = output.pop().and_then(|rc| rc.trim().parse().ok()).unwrap_or(-1);
            if output.last().is_some_and(String::is_empty) {
                output.pop();
            }
            Reply { rc, output }
        });
        outcome(reply.map_err(ExperimentError::from), pieces)
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        // A machine that is not reached any more keeps it.
        let line = format!("rm -rf {}", host::quoted(&self.folder));
        let _ = host::run(self.host, &line, SHORT, &mut Silent);
    }
}

/// Memtwin for the architecture of a machine.
fn built_for(host: &dyn Host, progress: &mut dyn Progress) -> Result<PathBuf, ExperimentError> {
    let said = host::run(host, "uname -m", SHORT, progress)?;
    let arch: Arch = said.trim().parse().map_err(|_| ExperimentError::Arch {
        host: host.name().to_owned(),
        arch: said.trim().to_owned(),
    })?;
    let programs = cross::build(&cross::source(None)?, arch, &[MEMTWIN], progress)?;
    let program = programs.into_iter().find(|path| path.ends_with(MEMTWIN));
    program.ok_or_else(|| CrossError::Nothing { packages: MEMTWIN.to_owned() }.into())
}

/// What came of a check, by the pieces of its record.
fn outcome(
    reply: Result<Reply, ExperimentError>,
    pieces: Pieces,
) -> Result<Outcome, ExperimentError> {
    let (expected, came) = (pieces.expected(), pieces.came());
    let error = match (reply, pieces.record()) {
        (Ok(Reply { rc, output: said }), None) => ExperimentError::NoRecord { rc, said },
        (Ok(Reply { rc, output: said }), Some(record)) if expected == Some(came) => {
            return Ok(Outcome { rc, record, said });
        }
        (Ok(_), Some(record)) => {
            let expected = expected.map_or("?".to_owned(), |expected| expected.to_string());
            broken(ExperimentError::Torn { expected, came }, record)
        }
        (Err(error), None) => error,
        (Err(error), Some(record)) => broken(error, record),
    };
    Err(error)
}

fn broken(error: ExperimentError, record: Value) -> ExperimentError {
    ExperimentError::Broken { error: Box::new(error), record }
}

/// A word as the board's shell takes it back.
fn quoted(word: &str) -> Result<String, ExperimentError> {
    if word.contains(['\n', '\r', '\'', '"']) {
        return Err(ExperimentError::Argument { argument: word.to_owned() });
    }
    Ok(format!("'{word}'"))
}
