//! The connection that all commands on a board share (`ControlMaster` of ssh_config(5)): a new one
//! for each would cost an emulated CPU half a second.

use super::LabError;
use crate::Progress;
use crate::host::Ssh;
use memtwin_child::Spawn;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long it may take; without it each command has its own connection.
const LIMIT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The connection, ended when this is dropped.
#[derive(Debug)]
pub(super) struct Master(Child);

impl Master {
    /// Starts it. `None`: it does not come, so that there is none.
    pub(super) fn start(
        host: &Ssh,
        control: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Option<Self>, LabError> {
        let mut command = host.options();
        command.args(["-M", "-N", "-T", "-a", "-x", "--", host.target()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let Ok(child) = command.spawn_bound() else { return Ok(None) };
        let mut master = Self(child);
        let began = Instant::now();
        while !control.exists() {
            if progress.is_cancelled() {
                return Err(crate::CommandError::Cancelled.into());
            }
            let ended = master.0.try_wait().is_ok_and(|status| status.is_some());
            if ended || began.elapsed() >= LIMIT {
                return Ok(None);
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(Some(master))
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
