//! What is tried on boards: our own commands, run there.

use crate::board::Board;
use crate::cross::{self, CrossError, MEMTWIN};
use crate::host::{self, Host, HostError};
use crate::image::{Image, ImageError, ImageSpec, SUITE};
use crate::{Arch, Cache, CacheError, Flavour, MachineError, Progress, Reply, Silent};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a small thing may take on another machine.
const SHORT: Duration = Duration::from_secs(120);
/// The line before the record.
const MARK: &str = "MEMTWIN RECORD";

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
}

/// What came of a command of ours on a board.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What it returned: one of Memtwin's exit codes.
    pub rc: i32,
    /// Its run record.
    pub record: serde_json::Value,
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
/// Errors: the board dies, or the check does not end within `limit`.
pub fn check_on(
    board: &mut Board,
    arguments: &[String],
    limit: Duration,
    progress: &mut dyn Progress,
) -> Result<Outcome, ExperimentError> {
    let words = arguments.iter().map(|word| quoted(word)).collect::<Result<Vec<_>, _>>()?;
    let order = format!("run {}; exit $rc", line("memtwin", "/run", &words.join(" ")));
    outcome(board.machine.order(&order, limit, progress)?)
}

/// A shell line that runs a check and shows what it said and its record; `$rc` is what it returned.
/// Not to a console at once: it is a terminal. The record comes without its indentation, as a console
/// is slow; no text of JSON's goes over several lines.
fn line(memtwin: &str, folder: &str, words: &str) -> String {
    let (record, said) = (format!("{folder}/record.json"), format!("{folder}/said"));
    format!(
        "rm -f {record}; {memtwin} check --quiet --json {record} {words} >{said} 2>&1; rc=$?; \
         cat {said}; echo {MARK}; sed 's/^ *//' {record} | tr -d '\\n'"
    )
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
    /// Errors: the machine is not reached, or the check does not end within `limit`.
    pub fn check(
        &self,
        arguments: &[String],
        limit: Duration,
        progress: &mut dyn Progress,
    ) -> Result<Outcome, ExperimentError> {
        let words: Vec<String> = arguments.iter().map(|word| host::quoted(word)).collect();
        let memtwin = format!("{}/memtwin", self.folder);
        let line = format!("{}; echo; echo $rc", line(&memtwin, &self.folder, &words.join(" ")));
        let said = host::run(self.host, &line, limit, progress)?;
        let mut output: Vec<String> = said.lines().map(str::to_owned).collect();
        // A number that can't be read is no success.
        let rc = output.pop().and_then(|rc| rc.trim().parse().ok()).unwrap_or(-1);
        outcome(Reply { rc, output })
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

/// Takes the record out of what the board has said.
fn outcome(Reply { rc, mut output }: Reply) -> Result<Outcome, ExperimentError> {
    let record = output.iter().position(|line| line == MARK).map(|at| output.split_off(at));
    let record = record.and_then(|lines| serde_json::from_str(&lines[1..].concat()).ok());
    match record {
        Some(record) => Ok(Outcome { rc, record, said: output }),
        None => Err(ExperimentError::NoRecord { rc, said: output }),
    }
}

/// A word as the board's shell takes it back.
fn quoted(word: &str) -> Result<String, ExperimentError> {
    if word.contains(['\n', '\r', '\'', '"']) {
        return Err(ExperimentError::Argument { argument: word.to_owned() });
    }
    Ok(format!("'{word}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_told_from_what_is_said() {
        let reply = |lines: &[&str]| Reply {
            rc: 1,
            output: lines.iter().map(|line| (*line).to_owned()).collect(),
        };
        let Outcome { rc, record, said } =
            outcome(reply(&["kvm/get differs", MARK, "{\"cases\": []}"])).unwrap();
        assert_eq!((rc, said), (1, vec!["kvm/get differs".to_owned()]));
        assert_eq!(record, serde_json::json!({ "cases": [] }));
        // A command that died has left none, or half of one.
        for lines in [&["Killed", MARK] as &[&str], &["Killed", MARK, "{\"cases\": ["], &["Killed"]]
        {
            let error = outcome(reply(lines)).unwrap_err().to_string();
            assert_eq!(error, "memtwin on the board returned 1 and no record\n    Killed");
        }
    }

    #[test]
    fn a_visit_leaves_nothing_behind() {
        let here = tempfile::tempdir().unwrap();
        let program = here.path().join("fake");
        // Says what it is given, and returns 7; the fourth argument is where its record goes.
        let script = "#!/bin/sh\necho \"$5\"; printf '{\\n  \"cases\": []\\n}' >$4; exit 7\n";
        std::fs::write(&program, script).unwrap();
        let visit = Visit::begin(&host::Local, Some(&program), &mut Silent).unwrap();
        let folder = PathBuf::from(&visit.folder);
        assert!(folder.join("memtwin").is_file());
        let word = ["it's --one $(word)".to_owned()];
        let outcome = visit.check(&word, SHORT, &mut Silent).unwrap();
        assert_eq!((outcome.rc, outcome.said), (7, word.to_vec()));
        assert_eq!(outcome.record, serde_json::json!({ "cases": [] }));
        drop(visit);
        assert!(!folder.exists());
    }

    #[test]
    fn an_argument_stays_one_word() {
        assert_eq!(quoted("--seconds=1 s; $(reboot)").unwrap(), "'--seconds=1 s; $(reboot)'");
        let error = quoted("it's").unwrap_err().to_string();
        assert!(error.starts_with("'it's': an argument for a board has no "), "{error}");
    }
}
