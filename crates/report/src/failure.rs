//! Why a command ended before it had anything to report: a line for a person, a code for a script.

use crate::ExitCode;
use std::fmt::Display;

/// The end of a command that could not do its work.
#[derive(Debug)]
pub struct Failure {
    /// What the process exits with.
    pub code: ExitCode,
    /// What is said on standard error, in one line.
    pub message: String,
}

impl Failure {
    /// The command line asks for what can't be.
    pub fn usage(message: impl Display) -> Self {
        Self { code: ExitCode::Usage, message: message.to_string() }
    }

    /// Something outside is missing or in the way.
    pub fn environment(message: impl Display) -> Self {
        Self { code: ExitCode::Environment, message: message.to_string() }
    }
}
