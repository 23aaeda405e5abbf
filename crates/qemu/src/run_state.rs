//! Whether the guest runs, and what QEMU calls the state that it is in: `query-status`
//! (`qapi/run-state.json`).

use memtwin_qmp::{Qmp, QmpError};
use serde::Deserialize;
use std::fmt;

/// The state of a guest's execution (RunState).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// A debugger holds it.
    Debug,
    /// Its QEMU waits for a migration to it, or receives one.
    #[serde(rename = "inmigrate")]
    InMigrate,
    /// QEMU can't run it any more.
    InternalError,
    /// A device failed, and it was told to stop then.
    IoError,
    /// Somebody paused it.
    Paused,
    /// It was migrated away.
    #[serde(rename = "postmigrate")]
    PostMigrate,
    /// It was never started (`-S`).
    Prelaunch,
    /// It stands still for the last pass of a migration.
    FinishMigrate,
    /// A snapshot is being loaded.
    RestoreVm,
    /// Its vCPUs run.
    Running,
    /// A snapshot is being saved.
    SaveVm,
    /// It has ended, and QEMU was told to stay (`-no-shutdown`).
    Shutdown,
    /// It sleeps (ACPI S3).
    Suspended,
    /// Its watchdog fired.
    Watchdog,
    /// Its kernel panicked.
    GuestPanicked,
    /// It stands still for COLO.
    Colo,
    /// One that we have no name for.
    #[serde(untagged)]
    Unknown(String),
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Debug => "debug",
            Self::InMigrate => "inmigrate",
            Self::InternalError => "internal-error",
            Self::IoError => "io-error",
            Self::Paused => "paused",
            Self::PostMigrate => "postmigrate",
            Self::Prelaunch => "prelaunch",
            Self::FinishMigrate => "finish-migrate",
            Self::RestoreVm => "restore-vm",
            Self::Running => "running",
            Self::SaveVm => "save-vm",
            Self::Shutdown => "shutdown",
            Self::Suspended => "suspended",
            Self::Watchdog => "watchdog",
            Self::GuestPanicked => "guest-panicked",
            Self::Colo => "colo",
            Self::Unknown(name) => name,
        })
    }
}

/// Whether the guest runs, and its state (StatusInfo).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct GuestStatus {
    /// Whether its vCPUs run.
    pub running: bool,
    /// The state by QEMU's name.
    pub status: RunState,
}

impl GuestStatus {
    /// Why a guest in this state writes nothing, and what would change that; None if it runs, or is about
    /// to.
    pub fn why_idle(&self) -> Option<String> {
        if self.running {
            return None;
        }
        let text = match &self.status {
            RunState::Prelaunch => {
                "the guest was never started (QEMU's -S); cont on its monitor starts it"
            }
            RunState::Paused => "the guest is paused; cont on QEMU's monitor lets it run",
            RunState::InMigrate => "QEMU waits for a guest that migrates to it, and has none yet",
            RunState::Suspended => "the guest sleeps; system_wakeup on QEMU's monitor wakes it",
            RunState::Shutdown | RunState::GuestPanicked | RunState::InternalError => {
                let again =
                    "the guest has ended; system_reset and cont on QEMU's monitor start it again";
                return Some(format!("{again} (it is '{}')", self.status));
            }
            RunState::IoError => {
                "the guest is paused for an error of its disk; mend that, then cont on QEMU's monitor"
            }
            RunState::Debug
            | RunState::PostMigrate
            | RunState::FinishMigrate
            | RunState::RestoreVm
            | RunState::Running
            | RunState::SaveVm
            | RunState::Watchdog
            | RunState::Colo
            | RunState::Unknown(_) => {
                return Some(format!("the guest does not run: it is '{}'", self.status));
            }
        };
        Some(text.to_owned())
    }
}

/// Whether the guest runs. Errors: as [`Qmp::execute`].
pub fn status(qmp: &mut Qmp) -> Result<GuestStatus, QmpError> {
    qmp.execute("query-status", ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(name: &str) -> RunState {
        serde_json::from_str(&format!("\"{name}\"")).unwrap()
    }

    /// All of `qapi/run-state.json` of QEMU 10.
    const NAMES: &str = "debug inmigrate internal-error io-error paused postmigrate prelaunch finish-migrate \
                         restore-vm running save-vm shutdown suspended watchdog guest-panicked colo";

    #[test]
    fn every_state_of_qemu_has_its_own_name_and_an_unknown_one_is_kept() {
        for name in NAMES.split_whitespace() {
            let state = parsed(name);
            assert!(!matches!(state, RunState::Unknown(_)), "{name}");
            assert_eq!(state.to_string(), name);
        }
        assert_eq!(parsed("of-tomorrow"), RunState::Unknown("of-tomorrow".to_owned()));
        assert_eq!(parsed("of-tomorrow").to_string(), "of-tomorrow");
    }

    #[test]
    fn who_does_not_run_is_told_what_would_help() {
        let why =
            |status: &str, running| GuestStatus { running, status: parsed(status) }.why_idle();
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
