//! Machines on which things are run: this one, or another through the system's ssh, so that the
//! user's configuration, keys and jump hosts hold. Emulated boards are reached in the same way.

mod error;
mod line_end;
mod local;
mod pump;
mod reverse;
mod shell;
mod ssh;
mod transfer;

pub use error::HostError;
pub use line_end::LineEnd;
pub use local::Local;
pub use pump::{RELAY, relay};
pub use reverse::Reverse;
pub use shell::quoted;
pub use ssh::{BoardAccess, Ssh};

use crate::Progress;
use crate::command;
use std::fmt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A machine on which things are run.
pub trait Host: fmt::Debug + Send + Sync {
    /// `local`, `ssh://user@host`, `emulated:a`.
    fn name(&self) -> &str;

    /// A shell line there, as a command to be spawned here. What it starts ends when the command's
    /// standard input does (the wrapper around the line sees to that), so nothing outlives a dead
    /// connection, nor the line itself. The line's own standard input is empty.
    fn command(&self, line: &str) -> Command;

    /// Copies a file there (mode such as 0o755), whole or not at all.
    ///
    /// Errors: one of the files can't be read or written, or the machine is not reached.
    fn put(&self, from: &Path, to: &str, mode: u32) -> Result<(), HostError>;

    /// Copies a file here, whole or not at all.
    ///
    /// Errors: one of the files can't be read or written, or the machine is not reached.
    fn get(&self, from: &str, to: &Path) -> Result<(), HostError>;

    /// A byte stream to a unix socket there. Elsewhere `memtwin relay` carries it, which ends soon
    /// after either side does.
    ///
    /// Errors: nobody listens there, or the machine is not reached.
    fn connect(&self, socket: &str) -> Result<UnixStream, HostError>;

    /// A port of the loopback interface there that leads to this one of the loopback interface here.
    ///
    /// Errors: the machine allows no such thing, or is not reached, or the wait is not wanted any more.
    fn reverse(&self, port: u16, progress: &mut dyn Progress) -> Result<Reverse, HostError>;
}

/// The machine of a name: `local`, or `ssh://[user@]host[:port]`.
///
/// Errors: it is neither.
pub fn named(name: &str) -> Result<Box<dyn Host>, HostError> {
    if name == "local" { Ok(Box::new(Local)) } else { Ok(Box::new(Ssh::parse(name)?)) }
}

/// Runs a line to its end, for so long at most; what it said on standard output.
///
/// Errors: it returned something else than 0, took too long, or was not wanted any more; nothing of
/// it runs on then.
pub fn run(
    host: &dyn Host,
    line: &str,
    limit: Duration,
    progress: &mut dyn Progress,
) -> Result<String, HostError> {
    run_heard(host, line, limit, progress, &mut |_| false)
}

/// The same; each line is `heard` when it comes, and is no part of what is returned if that takes it.
///
/// Errors: as for [`run`].
pub fn run_heard(
    host: &dyn Host,
    line: &str,
    limit: Duration,
    progress: &mut dyn Progress,
    heard: &mut dyn FnMut(&str) -> bool,
) -> Result<String, HostError> {
    let output = command::output_with_input(&mut host.command(line), limit, progress, heard);
    output.map_err(|error| HostError::of_command(host.name(), line, error))
}

/// As [`run`]; what it says on standard error is told while it goes on.
///
/// Errors: as for [`run`].
pub fn run_aloud(
    host: &dyn Host,
    line: &str,
    limit: Duration,
    progress: &mut dyn Progress,
) -> Result<String, HostError> {
    let output = command::tell_with_input(&mut host.command(line), limit, progress);
    output.map_err(|error| HostError::of_command(host.name(), line, error))
}
