//! What QEMU says of itself: `query-version`, `query-status`, `query-target`, `query-kvm`
//! (`qapi/control.json`, `qapi/run-state.json`, `qapi/machine.json`).

use memtwin_qmp::{Qmp, QmpError};
use serde::Deserialize;
use std::fmt;

/// QEMU's version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
    /// The third.
    pub micro: u32,
    /// Who packaged it, and how they name it; empty for QEMU's own.
    pub package: String,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)?;
        if self.package.is_empty() { Ok(()) } else { write!(f, " ({})", self.package) }
    }
}

/// Whether the guest runs, and why (not).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RunState {
    /// Whether its vCPUs run.
    pub running: bool,
    /// QEMU's word for the state: running, paused, prelaunch, postmigrate, …
    pub status: String,
}

impl RunState {
    /// Why a guest in this state writes nothing, and what would change that; None if it runs, or is about
    /// to (`RunState` in `qapi/run-state.json`).
    pub fn why_idle(&self) -> Option<String> {
        let text = match self.status.as_str() {
            _ if self.running => return None,
            "prelaunch" => "the guest was never started (QEMU's -S); cont on its monitor starts it",
            "paused" => "the guest is paused; cont on QEMU's monitor lets it run",
            "inmigrate" => "QEMU waits for a guest that migrates to it, and has none yet",
            "suspended" => "the guest sleeps; system_wakeup on QEMU's monitor wakes it",
            "shutdown" | "guest-panicked" | "internal-error" => {
                let again =
                    "the guest has ended; system_reset and cont on QEMU's monitor start it again";
                return Some(format!("{again} (it is '{}')", self.status));
            }
            "io-error" => {
                "the guest is paused for an error of its disk; mend that, then cont on QEMU's monitor"
            }
            status => return Some(format!("the guest does not run: it is '{status}'")),
        };
        Some(text.to_owned())
    }
}

/// Whether the guest runs under KVM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Kvm {
    /// It does.
    pub enabled: bool,
    /// This QEMU could.
    pub present: bool,
}

/// QEMU's version. Errors: as [`Qmp::execute`].
pub fn version(qmp: &mut Qmp) -> Result<Version, QmpError> {
    #[derive(Deserialize)]
    struct Numbers {
        major: u32,
        minor: u32,
        micro: u32,
    }
    #[derive(Deserialize)]
    struct Answer {
        qemu: Numbers,
        package: String,
    }
    let Answer { qemu, package } = qmp.execute("query-version", ())?;
    Ok(Version { major: qemu.major, minor: qemu.minor, micro: qemu.micro, package })
}

/// Whether the guest runs. Errors: as [`Qmp::execute`].
pub fn status(qmp: &mut Qmp) -> Result<RunState, QmpError> {
    qmp.execute("query-status", ())
}

/// The guest's architecture, in QEMU's names: aarch64, x86_64, … Errors: as [`Qmp::execute`].
pub fn target(qmp: &mut Qmp) -> Result<String, QmpError> {
    #[derive(Deserialize)]
    struct Answer {
        arch: String,
    }
    qmp.execute("query-target", ()).map(|Answer { arch }| arch)
}

/// Whether the guest runs under KVM. Errors: as [`Qmp::execute`].
pub fn kvm(qmp: &mut Qmp) -> Result<Kvm, QmpError> {
    qmp.execute("query-kvm", ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_run_is_told_what_would_help() {
        let why =
            |status: &str, running| RunState { running, status: status.to_owned() }.why_idle();
        assert_eq!(why("running", true), None);
        for (status, part) in [
            ("prelaunch", "never started (QEMU's -S); cont"),
            ("paused", "cont"),
            ("suspended", "system_wakeup"),
            ("guest-panicked", "'guest-panicked'"),
            ("of-tomorrow", "'of-tomorrow'"),
        ] {
            assert!(why(status, false).unwrap().contains(part), "{status}");
        }
    }
}
