//! A lab that is up, for commands in other terminals.

use memtwin_child::Spawn;
use memtwin_lab::board::Board;
use memtwin_lab::host::{Host, Ssh};
use memtwin_lab::running_lab::{self, RunningLab, RunningLabError};
use memtwin_report::ExitCode;
use memtwin_report::Failure;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A lab, or a machine, that is not found.
pub(crate) fn not_found(error: RunningLabError) -> Failure {
    if error.is_usage() { Failure::usage(error) } else { Failure::environment(error) }
}

/// Where a lab is: the place that was given, or the one that nobody but this user can have made.
///
/// Errors: another user has taken that place.
pub(super) fn folder(given: Option<&Path>) -> Result<PathBuf, Failure> {
    running_lab::folder(given).map_err(not_found)
}

/// A board of the lab that is up in a folder.
///
/// Errors: no such board is.
pub(super) fn board_in(folder: &Path, name: &str) -> Result<Board, Failure> {
    running_lab::board(name, Some(folder)).map_err(not_found)
}

/// A board of the lab that is up.
///
/// Errors: no such board is.
pub(crate) fn board(name: &str, folder: Option<&Path>) -> Result<Ssh, Failure> {
    running_lab::board(name, folder).map(|board| board.ssh().clone()).map_err(not_found)
}

/// The machine of a name: `emulated:NAME` is a board of the lab that is up.
///
/// Errors: it is no name, or no such board is up.
pub(super) fn host(name: &str, folder: Option<&Path>) -> Result<Box<dyn Host>, Failure> {
    running_lab::named_host(name, folder).map_err(not_found)
}

/// `memtwin lab up --detach`: the same command in the background, and what it says until it is up.
pub(super) fn detached(folder: &Path) -> Result<ExitCode, Failure> {
    if RunningLab::find(folder).is_ok() {
        let taken = memtwin_lab::boards::LabError::Taken { path: folder.to_owned() };
        return Err(Failure::environment(taken));
    }
    let words = std::env::args_os().skip(1).filter(|word| word != "--detach");
    let mut child = Command::new("/proc/self/exe")
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn_outliving("`memtwin lab down` ends it")
        .map_err(Failure::environment)?;
    let stream = child.stderr.take().map(BufReader::new);
    let mut said = String::new();
    for line in stream.into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
        said = line;
        // To this process's own standard error, which is the user's.
        crate::output::say(&said);
        if running_lab::is_published(folder) {
            return Ok(ExitCode::Verified);
        }
    }
    let status = child.wait().map_err(Failure::environment)?;
    Err(Failure::environment(format!("the lab did not come up ({status}): {said}")))
}

/// `memtwin lab down`.
pub(super) fn down(folder: &Path) -> Result<ExitCode, Failure> {
    RunningLab::end(folder).map_err(not_found)?;
    Ok(ExitCode::Verified)
}

/// `memtwin lab ssh`.
pub(super) fn ssh(folder: &Path, name: &str, words: &[OsString]) -> Result<ExitCode, Failure> {
    let board = board_in(folder, name)?;
    let mut command = board.ssh().options();
    command.args(["--", board.ssh().target()]).args(words);
    // A person's ssh is ssh itself: its terminal, its signals, its exit code.
    Err(Failure::environment(format!("ssh: {}", command.exec())))
}
