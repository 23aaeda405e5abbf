//! `memtwin relay SOCKET`: the far end of a stream to a unix socket on another machine.

use memtwin_report::ExitCode;
use memtwin_report::Failure;
use std::path::Path;

/// Carries it, until either side ends.
pub(crate) fn run(socket: &Path) -> Result<ExitCode, Failure> {
    let relayed = memtwin_lab::host::relay(socket);
    let failed = |error| Failure::environment(format!("{}: {error}", socket.display()));
    relayed.map(|()| ExitCode::Verified).map_err(failed)
}
