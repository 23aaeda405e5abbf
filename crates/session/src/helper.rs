//! How the caller's program is started again beside itself: as the guardian of a QEMU, as the process whose
//! memory is replicated. This crate knows no command line, so it is given both.

use std::ffi::OsString;
use std::process::Command;

/// A program and its arguments, to be started as often as it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelperCommand {
    program: OsString,
    arguments: Vec<OsString>,
}

impl HelperCommand {
    /// This program with these arguments. A guardian's runs [`memtwin_tap::guardian_main`], a writer's
    /// [`memtwin_process::writer_main`].
    pub fn new<A: Into<OsString>>(
        program: impl Into<OsString>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        Self { program: program.into(), arguments: arguments.into_iter().map(Into::into).collect() }
    }

    /// The command, not started yet.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        command
    }
}
