//! Leaving QEMU as it was found: whoever does it, the tap at its end or the guardian after our
//! death, does it by this.

use memtwin_qemu::{Settings, SettingsError, Status, migration, status};
use memtwin_qmp::{Qmp, QmpError};
use serde::{Deserialize, Serialize};
use std::thread;
use std::time::{Duration, Instant};

/// How long a cancelled migration may take to end. It takes milliseconds, unless QEMU is stuck in
/// a device.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(2);

/// What there is to undo.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Undo {
    /// The settings that were changed, as they were before.
    pub settings: Settings,
    /// Whether the guest ran.
    pub ran: bool,
}

/// Why QEMU could not be left as it was.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// QEMU can't be asked.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// The settings can't be put back.
    #[error("putting back the migration settings: {0}")]
    Settings(#[from] SettingsError),
    /// The migration does not end.
    #[error(
        "the migration to us is still '{status}' {} s after migrate_cancel; see query-migrate on QEMU's monitor",
        PATIENCE.as_secs()
    )]
    Stuck {
        /// Where it is.
        status: Status,
    },
    /// The guest does not run.
    #[error("the guest ran before and is '{status}' now; cont on QEMU's monitor lets it run")]
    NotRunning {
        /// QEMU's word for its state.
        status: String,
    },
}

impl UndoError {
    /// Whether QEMU itself is gone: there is nothing left to undo.
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Qmp(error) | Self::Settings(SettingsError::Qmp(error)) => error.is_gone(),
            _ => false,
        }
    }
}

impl Undo {
    /// Cancels the migration, sees that the guest runs if it did, and puts the settings back. Tries
    /// each, also when another fails; does nothing where there is nothing to do.
    ///
    /// Errors: the first thing that failed.
    pub fn run(&self, qmp: &mut Qmp) -> Result<(), UndoError> {
        let ended = cancel(qmp);
        let runs = self.let_run(qmp);
        let put_back = self.settings.apply(qmp);
        ended?;
        runs?;
        Ok(put_back?)
    }

    /// QEMU lets the guest run on by itself when a migration ends without success. It never does
    /// so with a guest that somebody else paused, and neither do we.
    fn let_run(&self, qmp: &mut Qmp) -> Result<(), UndoError> {
        if !self.ran {
            return Ok(());
        }
        let since = Instant::now();
        loop {
            let now = status(qmp)?;
            match now.status.as_str() {
                _ if now.running => return Ok(()),
                // States of a migration: left within moments after its end.
                "finish-migrate" | "postmigrate" => {}
                // Whatever else stopped it, it was not us.
                _ => return Ok(()),
            }
            if since.elapsed() > PATIENCE / 4 {
                let _: serde_json::Value = qmp.execute("cont", ())?;
                let now = status(qmp)?;
                let not_running = UndoError::NotRunning { status: now.status };
                return if now.running { Ok(()) } else { Err(not_running) };
            }
            thread::sleep(LOOK);
        }
    }
}

/// Cancels a migration that is under way, and waits for its end.
fn cancel(qmp: &mut Qmp) -> Result<(), UndoError> {
    if !migration(qmp)?.status.is_under_way() {
        return Ok(());
    }
    let _: serde_json::Value = qmp.execute("migrate_cancel", ())?;
    let since = Instant::now();
    loop {
        let status = migration(qmp)?.status;
        if !status.is_under_way() {
            return Ok(());
        }
        if since.elapsed() > PATIENCE {
            return Err(UndoError::Stuck { status });
        }
        thread::sleep(LOOK);
    }
}
