//! A lab that is up, for commands in other terminals: how its boards are reached, and the door at which
//! it is asked to end.

use memtwin_child::Spawn;
use memtwin_lab::boards::{BoardEntry, Lab, LabFolder, RunningLab};
use memtwin_lab::host::{Host, Ssh};
use memtwin_report::ExitCode;
use memtwin_report::Failure;
use memtwin_safe_path::{connect, is_from_us};
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How often it is seen whether it is to end.
pub(super) const TICK: Duration = Duration::from_millis(200);
/// How long a lab may take to end.
const END: Duration = Duration::from_secs(60);

/// The boards that are up.
#[derive(Debug)]
pub(super) struct State {
    pub(super) boards: Vec<BoardEntry>,
}

/// Where a lab is: the place that was given, or the one that nobody but this user can have made.
///
/// Errors: another user has taken that place.
pub(super) fn folder(given: Option<&Path>) -> Result<PathBuf, Failure> {
    RunningLab::place(given).map_err(Failure::environment)
}

/// Where it is asked to end.
pub(super) struct Door(UnixListener);

impl Door {
    /// Whether somebody has asked, and not only looked whether we are here. Who asks hears of the end
    /// by the end of his connection.
    pub(super) fn asked(&self) -> bool {
        self.0.accept().is_ok_and(|(mut stream, _)| {
            let asked = is_from_us(&stream)
                && stream.set_read_timeout(Some(TICK)).is_ok()
                && matches!(stream.read(&mut [0]), Ok(1));
            if asked {
                // It stays open until this process ends.
                std::mem::forget(stream);
            }
            asked
        })
    }
}

impl State {
    pub(super) fn of(lab: &Lab) -> Self {
        Self { boards: RunningLab::of(lab).boards }
    }

    /// Writes it where others find it, and opens the door.
    pub(super) fn write(&self, folder: &LabFolder) -> Result<Door, Failure> {
        let state = RunningLab { boards: self.boards.clone() }.to_json();
        let path = folder.path("lab.json");
        let failed =
            |error: std::io::Error| Failure::environment(format!("{}: {error}", path.display()));
        let door = UnixListener::bind(folder.path("door")).map_err(failed)?;
        door.set_nonblocking(true).map_err(failed)?;
        let unfinished = folder.path("lab.json.unfinished");
        fs::write(&unfinished, format!("{state:#}\n")).map_err(failed)?;
        fs::rename(&unfinished, &path).map_err(failed)?;
        Ok(Door(door))
    }

    /// Reads it.
    ///
    /// Errors: no lab is up.
    pub(super) fn read(folder: &Path) -> Result<Self, Failure> {
        let RunningLab { boards } = RunningLab::read(folder).map_err(Failure::environment)?;
        Ok(Self { boards })
    }

    /// The board of a name.
    ///
    /// Errors: there is none; the message names those that are.
    pub(super) fn board(&self, name: &str) -> Result<BoardEntry, Failure> {
        let lab = RunningLab { boards: self.boards.clone() };
        lab.board(name).cloned().map_err(Failure::usage)
    }
}

/// A board of the lab that is up.
///
/// Errors: no such board is.
pub(crate) fn board(name: &str, folder: Option<&Path>) -> Result<Ssh, Failure> {
    Ok(State::read(&self::folder(folder)?)?.board(name)?.host())
}

/// The machine of a name: `emulated:NAME` is a board of the lab that is up.
///
/// Errors: it is no name, or no such board is up.
pub(super) fn host(name: &str, folder: Option<&Path>) -> Result<Box<dyn Host>, Failure> {
    match name.strip_prefix("emulated:") {
        Some(name) => Ok(Box::new(board(name, folder)?)),
        None => memtwin_lab::host::named(name).map_err(Failure::usage),
    }
}

/// `memtwin lab up --detach`: the same command in the background, and what it says until it is up.
pub(super) fn detached(folder: &Path) -> Result<ExitCode, Failure> {
    if State::read(folder).is_ok() {
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
        if folder.join("lab.json").exists() {
            return Ok(ExitCode::Verified);
        }
    }
    let status = child.wait().map_err(Failure::environment)?;
    Err(Failure::environment(format!("the lab did not come up ({status}): {said}")))
}

/// `memtwin lab down`.
pub(super) fn down(folder: &Path) -> Result<ExitCode, Failure> {
    State::read(folder)?;
    let failed = |error: std::io::Error| {
        Failure::environment(format!("{}: {error}", folder.join("door").display()))
    };
    let mut stream = connect(&folder.join("door")).map_err(Failure::environment)?;
    stream.set_read_timeout(Some(END)).map_err(failed)?;
    std::io::Write::write_all(&mut stream, b"!").map_err(failed)?;
    // It ends with the process that has the other end.
    stream.read_to_end(&mut Vec::new()).map_err(failed)?;
    Ok(ExitCode::Verified)
}

/// `memtwin lab ssh`.
pub(super) fn ssh(folder: &Path, name: &str, words: &[OsString]) -> Result<ExitCode, Failure> {
    let host = State::read(folder)?.board(name)?.host();
    let mut command = host.options();
    command.args(["--", host.target()]).args(words);
    // A person's ssh is ssh itself: its terminal, its signals, its exit code.
    Err(Failure::environment(format!("ssh: {}", command.exec())))
}
