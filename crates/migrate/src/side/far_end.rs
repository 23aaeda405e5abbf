//! Whether a QEMU on another machine is there, whatever became of the connection that carries it.

use super::SideSpec;
use memtwin_lab::Silent;
use memtwin_lab::host::{self, Host, quoted};
use std::time::Duration;

/// How long the far side may take to say.
const ASK: Duration = Duration::from_secs(15);
/// What the far side says of a QEMU that is there no more.
const GONE: &str = "gone";

/// QEMU's line, after a note of which process it is, beside its monitor's socket.
pub(super) fn noted(spec: &SideSpec) -> String {
    format!("echo $$ >{} && exec {}", quoted(&format!("{}.pid", spec.qmp)), spec.line)
}

/// Whether that side says that the QEMU with this monitor's socket is there no more. `false`: it is there,
/// or nothing is known.
pub(super) fn is_gone(host: &dyn Host, qmp: &str) -> bool {
    let said = host::run(host, &gone_line(qmp), ASK, &mut Silent);
    said.is_ok_and(|said| said.trim() == GONE)
}

/// Asks whether the process that was noted is there, and still the one with this socket: a number may have
/// another owner by now. One that has ended and was not waited for has no command line.
fn gone_line(qmp: &str) -> String {
    let (note, socket) = (quoted(&format!("{qmp}.pid")), quoted(qmp));
    format!(
        "p=$(cat {note}) && case $p in ''|*[!0-9]*) exit 1;; esac && test -r /proc/self/cmdline && \
         if tr '\\0' '\\n' 2>/dev/null </proc/$p/cmdline | grep -F -q -- {socket}; \
         then echo there; else echo {GONE}; fi"
    )
}
