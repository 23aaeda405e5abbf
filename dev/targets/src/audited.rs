//! A board that runs, audited by the built binary.

use crate::board::TargetBoard;
use crate::result::BoardResult;
use memtwin_testbed::StartError;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How many rounds an audit has: the first ones are QEMU's first pass over memory.
const ROUNDS: &str = "4";
/// What an audit may take, also on a machine with other work.
const LIMIT: Duration = Duration::from_secs(170);

/// Who has it audited: what differs between a developer's command and a test.
pub trait AuditCaller {
    /// Runs a command to its end, whatever its exit code.
    ///
    /// Errors: it did not come to its end in this time.
    fn complete(&mut self, command: &mut Command, limit: Duration) -> Result<(), String>;
}

/// Why a board has no result.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// QEMU did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The audit did not come to its end.
    #[error("the audit: {0}")]
    Audit(String),
    /// QEMU died meanwhile.
    #[error("QEMU died during the audit: {said}")]
    Died {
        /// What it said.
        said: String,
    },
    /// What the audit left can't be read.
    #[error("{path}: {error}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: io::Error,
    },
}

impl TargetBoard {
    /// Starts it, audits it and kills it.
    ///
    /// Errors: there is no result, which is none that anybody may expect.
    pub fn audited(
        &self,
        memtwin: &Path,
        caller: &mut impl AuditCaller,
    ) -> Result<BoardResult, BoardError> {
        let mut qemu = self.start()?;
        let at = |name: &str| qemu.dir().join(name);
        let file = |path: &Path| {
            let path = path.to_owned();
            move |error| BoardError::File { path, error }
        };
        let (record, said) = (at("record.json"), at("said"));
        let mut audit = Command::new(memtwin);
        audit
            .arg("audit")
            .arg(qemu.qmp())
            .args(["--rounds", ROUNDS, "--quiet", "--json"])
            .arg(&record);
        // The guest is ours: that a busy machine takes its time is no matter.
        audit.args(["--max-pause", "1m"]).stdin(Stdio::null()).stdout(Stdio::null());
        if self.is_forced {
            audit.arg("--force");
        }
        audit.stderr(File::create(&said).map_err(file(&said))?);
        caller.complete(&mut audit, LIMIT).map_err(BoardError::Audit)?;
        let died = qemu.ended().map_err(file(&said))?;
        if died.is_some() {
            let path = qemu.dir().join("stderr");
            let said = fs::read(&path).map_err(file(&path))?;
            return Err(BoardError::Died {
                said: String::from_utf8_lossy(&said).trim().to_owned(),
            });
        }
        match fs::read(&record) {
            Ok(bytes) => {
                let read = serde_json::from_slice(&bytes).map_err(io::Error::from);
                Ok(BoardResult::of(*self, &read.map_err(file(&record))?))
            }
            // Refused before anything was begun.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let said = fs::read(&said).map_err(file(&said))?;
                Ok(BoardResult::refused(*self, &String::from_utf8_lossy(&said)))
            }
            Err(error) => Err(file(&record)(error)),
        }
    }
}
