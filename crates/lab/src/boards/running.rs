//! A lab that is up, as others find it: how its boards are reached, from a file in its folder.

use super::Lab;
use crate::host::{BoardAccess, Ssh};
use memtwin_safe_path::{SafePathError, check_private_dir, connect, runtime_dir};
use serde_json::{Value, json};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Why a board of a running lab is not found.
#[derive(Debug, thiserror::Error)]
pub enum RunningLabError {
    /// No lab is up there.
    #[error("{}: no lab is up; `memtwin lab up` starts one", place.display())]
    NotUp {
        /// The folder in which it would be.
        place: PathBuf,
    },
    /// The lab has no such board.
    #[error("no board '{name}' is up; there are: {}", names.join(", "))]
    NoBoard {
        /// The name that was asked for.
        name: String,
        /// The names of those that are up.
        names: Vec<String>,
    },
    /// Another user has made that folder, or waits behind its door.
    #[error(transparent)]
    NotOurs(#[from] SafePathError),
    /// Its file is not as it was written.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// A board that is up.
#[derive(Clone, Debug)]
pub struct BoardEntry {
    /// Its name.
    pub name: String,
    /// What it said of itself when it came up.
    pub about: String,
    /// The file into which its console speaks.
    pub console: PathBuf,
    /// The socket of its console's keyboard.
    pub keyboard: PathBuf,
    /// How ssh reaches it.
    pub access: BoardAccess,
}

/// The boards that are up.
#[derive(Clone, Debug)]
pub struct RunningLab {
    /// In the order in which they were started.
    pub boards: Vec<BoardEntry>,
}

impl RunningLab {
    /// Where a lab is: the place that is given, or the one that nobody but this user can have made.
    ///
    /// Errors: another user has taken that place.
    pub fn place(given: Option<&Path>) -> Result<PathBuf, SafePathError> {
        match given {
            Some(folder) => Ok(folder.to_owned()),
            None => Ok(runtime_dir()?.join("lab")),
        }
    }

    /// The boards of a lab of ours.
    pub fn of(lab: &Lab) -> Self {
        let boards = lab.boards.iter().map(|board| BoardEntry {
            name: board.name.clone(),
            about: board.about.clone(),
            console: lab.folder.console(&board.name),
            keyboard: lab.folder.keyboard(&board.name),
            access: board.access.clone(),
        });
        Self { boards: boards.collect() }
    }

    /// Reads what the lab in this folder has written.
    ///
    /// Errors: no lab is up there, or not one of ours.
    pub fn read(folder: &Path) -> Result<Self, RunningLabError> {
        let none = || RunningLabError::NotUp { place: folder.to_owned() };
        // Where it lies, root's terminal goes: another user must not have made it.
        let checked = match check_private_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(none()),
            checked => checked?,
        };
        // One that was killed has left its file, but nobody behind the door.
        match connect(&checked.join("door")) {
            Err(error @ SafePathError::Peer { .. }) => return Err(error.into()),
            connected => connected.map_err(|_| none())?,
        };
        let text = fs::read_to_string(checked.join("lab.json")).map_err(|_| none())?;
        let value: Value = serde_json::from_str(&text)?;
        let boards = value["boards"].as_array().into_iter().flatten();
        Ok(Self { boards: boards.filter_map(BoardEntry::from_json).collect() })
    }

    /// What others read.
    pub fn to_json(&self) -> Value {
        let boards: Vec<Value> = self.boards.iter().map(BoardEntry::to_json).collect();
        json!({ "boards": boards })
    }

    /// The board of a name.
    ///
    /// Errors: there is none; the message names those that are.
    pub fn board(&self, name: &str) -> Result<&BoardEntry, RunningLabError> {
        let found = self.boards.iter().find(|board| board.name == name);
        found.ok_or_else(|| RunningLabError::NoBoard {
            name: name.to_owned(),
            names: self.boards.iter().map(|board| board.name.clone()).collect(),
        })
    }
}

impl BoardEntry {
    /// It, to run things on.
    pub fn host(&self) -> Ssh {
        Ssh::board(&self.name, &self.access)
    }

    fn to_json(&self) -> Value {
        let path = |path: &Path| path.display().to_string();
        json!({
            "name": self.name,
            "about": self.about,
            "console": path(&self.console),
            "keyboard": path(&self.keyboard),
            "port": self.access.port,
            "key": path(&self.access.key),
            "known_hosts": path(&self.access.known_hosts),
            "control": path(&self.access.control),
        })
    }

    fn from_json(value: &Value) -> Option<Self> {
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        let path = |key: &str| text(key).map(PathBuf::from);
        Some(Self {
            name: text("name")?,
            about: text("about")?,
            console: path("console")?,
            keyboard: path("keyboard")?,
            access: BoardAccess {
                port: value["port"].as_u64()?.try_into().ok()?,
                key: path("key")?,
                known_hosts: path("known_hosts")?,
                control: path("control")?,
            },
        })
    }
}
