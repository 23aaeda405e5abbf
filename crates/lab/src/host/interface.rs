//! What every machine can do on which things are run.

use super::{HostError, Reverse};
use crate::Progress;
use std::fmt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

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
