//! Machines on which things are run: this one, or another through the system's ssh, so that the
//! user's configuration, keys and jump hosts hold. Emulated boards are reached in the same way.

mod error;
mod interface;
mod line_end;
mod local;
mod named;
mod pump;
mod reverse;
mod shell;
mod ssh;
mod transfer;

pub use error::HostError;
pub use interface::Host;
pub use line_end::LineEnd;
pub use local::Local;
pub use named::named;
pub use pump::{RELAY, relay};
pub use reverse::Reverse;
pub use shell::quoted;
pub use ssh::{BoardAccess, Ssh};

use crate::Progress;
use crate::command;
use std::time::Duration;

/// Runs a line to its end, for this long at most; what it said on standard output.
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
