//! Why there is no recording.

use nix::errno::Errno;
use std::io;

/// Why there is no recording.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The program can't be started or read, or the directory can't.
    #[error("recording: {0}")]
    Io(#[from] io::Error),
    /// ptrace(2) or waitpid(2) is refused.
    #[error("recording by ptrace(2): {0}; a sandbox may forbid it")]
    Trace(#[from] Errno),
    /// The program did something that this recorder does not understand.
    #[error("recording: {0} is not recorded; teach the recorder, or do without")]
    Blind(&'static str),
    /// The program has failed.
    #[error("recording: the program ended with {0}")]
    Failed(String),
}
