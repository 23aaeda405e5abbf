//! A lab that is up, for other processes: how its boards are reached, and the socket by which it is asked to
//! end. `lab.json` in the lab's folder has the boards, `door` is the socket.

mod entry;
mod error;

pub use error::RunningLabError;

use crate::board::Board;
use crate::boards::Lab;
use crate::host::{self, Host};
use memtwin_safe_path::{SafePathError, check_private_dir, connect, is_from_us, runtime_dir};
use serde_json::{Value, json};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long one who asks for the end may take to say so.
const ASK_TIMEOUT: Duration = Duration::from_millis(200);
/// How long a lab may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(60);

/// The file of the boards, and the socket.
const BOARDS_FILE: &str = "lab.json";
const END_SOCKET: &str = "door";

/// The boards of a lab that another process holds.
#[derive(Debug)]
pub struct RunningLab {
    boards: Vec<Board>,
}

/// Where a lab is: the folder that was given, or the one that nobody but this user can have made.
///
/// Errors: another user has taken that place.
pub fn folder(given: Option<&Path>) -> Result<PathBuf, RunningLabError> {
    match given {
        Some(folder) => Ok(folder.to_owned()),
        None => Ok(runtime_dir()?.join("lab")),
    }
}

/// Whether a lab in this folder can be found by others.
pub fn is_published(folder: &Path) -> bool {
    folder.join(BOARDS_FILE).exists()
}

/// A board of the lab that is up in this folder, or in the default one.
///
/// Errors: no such board is.
pub fn board(name: &str, given: Option<&Path>) -> Result<Board, RunningLabError> {
    Ok(RunningLab::find(&folder(given)?)?.board(name)?.clone())
}

/// The machine of a name: `local`, `ssh://[user@]host[:port]`, or `emulated:NAME`, a board of the lab that is up
/// in this folder, or in the default one.
///
/// Errors: it is no name, or no such board is up.
pub fn named_host(name: &str, given: Option<&Path>) -> Result<Box<dyn Host>, RunningLabError> {
    match name.strip_prefix("emulated:") {
        Some(name) => Ok(Box::new(board(name, given)?)),
        None => host::named(name).map_err(RunningLabError::HostName),
    }
}

/// Where a lab is asked to end.
#[derive(Debug)]
pub struct EndRequests(UnixListener);

impl EndRequests {
    /// Makes a lab known to other processes, which can ask for its end from now on.
    ///
    /// Errors: a file or a socket in its folder can't be made.
    pub fn publish(lab: &Lab) -> Result<Self, RunningLabError> {
        let boards: Vec<Value> =
            lab.boards.iter().map(|board| entry::to_json(&board.host)).collect();
        let path = lab.folder.path(BOARDS_FILE);
        let failed = |error| RunningLabError::File { path: path.clone(), error };
        let requests = UnixListener::bind(lab.folder.path(END_SOCKET)).map_err(failed)?;
        requests.set_nonblocking(true).map_err(failed)?;
        let unfinished = lab.folder.path(&format!("{BOARDS_FILE}.unfinished"));
        fs::write(&unfinished, format!("{:#}\n", json!({ "boards": boards }))).map_err(failed)?;
        fs::rename(&unfinished, &path).map_err(failed)?;
        Ok(Self(requests))
    }

    /// Whether somebody has asked, and not only looked whether the lab is up. Who asks learns of the end by
    /// the end of his connection.
    pub fn is_asked(&self) -> bool {
        self.0.accept().is_ok_and(|(mut stream, _)| {
            let asked = is_from_us(&stream)
                && stream.set_read_timeout(Some(ASK_TIMEOUT)).is_ok()
                && matches!(stream.read(&mut [0]), Ok(1));
            if asked {
                // It stays open until this process ends.
                std::mem::forget(stream);
            }
            asked
        })
    }
}

impl RunningLab {
    /// The lab that is up in a folder.
    ///
    /// Errors: none is, or another user may have made what is there.
    pub fn find(folder: &Path) -> Result<Self, RunningLabError> {
        let none = || RunningLabError::NotUp { path: folder.to_owned() };
        // Where it lies, root's terminal goes: another user must not have made it.
        let real = match check_private_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(none()),
            checked => checked?,
        };
        // One that was killed has left its file, but nobody behind the socket.
        match connect(&real.join(END_SOCKET)) {
            Err(error @ SafePathError::Peer { .. }) => return Err(error.into()),
            connected => connected.map_err(|_| none())?,
        };
        let text = fs::read_to_string(real.join(BOARDS_FILE)).map_err(|_| none())?;
        let value: Value = serde_json::from_str(&text)?;
        let boards = value["boards"].as_array().into_iter().flatten();
        Ok(Self { boards: boards.filter_map(entry::from_json).collect() })
    }

    /// The board of a name.
    ///
    /// Errors: there is none; the message names those that are.
    pub fn board(&self, name: &str) -> Result<&Board, RunningLabError> {
        let found = self.boards.iter().find(|board| board.label() == name);
        found.ok_or_else(|| RunningLabError::NoBoard {
            name: name.to_owned(),
            boards: self.boards.iter().map(|board| board.label().to_owned()).collect(),
        })
    }

    /// Ends the lab in a folder, and waits until its process has ended.
    ///
    /// Errors: none is up there, or it does not end in time.
    pub fn end(folder: &Path) -> Result<(), RunningLabError> {
        Self::find(folder)?;
        let path = folder.join(END_SOCKET);
        let failed = |error| RunningLabError::File { path: path.clone(), error };
        let mut stream = connect(&path)?;
        stream.set_read_timeout(Some(END_TIMEOUT)).map_err(failed)?;
        stream.write_all(b"!").map_err(failed)?;
        // It ends with the process that has the other end.
        stream.read_to_end(&mut Vec::new()).map_err(failed)?;
        Ok(())
    }
}
