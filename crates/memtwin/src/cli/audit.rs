//! The words of `memtwin audit`.

use super::{OutputArgs, pause};
use crate::helpers;
use crate::values::Time;
use clap::Args;
use memtwin_session::AuditConfig;
use std::path::PathBuf;
use std::time::Duration;

/// `memtwin audit`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Audit {
    /// The socket of QEMU's QMP monitor (`-qmp unix:PATH,server=on,wait=off`)
    pub(crate) socket: PathBuf,
    /// How long to audit before the guest is paused and judged [default: 5s]
    #[arg(long, value_name = "TIME")]
    pub(crate) seconds: Option<Time>,
    /// Run this many rounds at most after pre-copy
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: Option<u32>,
    /// Pause the guest and judge after every N rounds too
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pause_every: Option<u32>,
    /// How often in a second the log's pages are fetched; between, the guest is let alone
    #[arg(long, default_value_t = 2.0, value_name = "N", value_parser = rate)]
    pub(crate) rounds_per_second: f64,
    /// QEMU's process id [default: found by its socket]
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Option<u32>,
    /// How long the guest may stand still for us at most; what could not be compared by then is
    /// inconclusive
    #[arg(long, default_value = "250ms", value_name = "TIME", value_parser = pause, overrides_with = "max_pause")]
    pub(crate) max_pause: Time,
    /// Where the control's random choices begin
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Audit a guest even if QEMU is known to abort when it migrates one like it (docs/qemu.md)
    #[arg(long)]
    pub(crate) force: bool,
    /// Say what would be audited and changed, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) output: OutputArgs,
}

impl Audit {
    /// What it asks for.
    pub(crate) fn into_config(self) -> AuditConfig {
        AuditConfig {
            socket: self.socket,
            pid: self.pid,
            time: self.seconds.map(|time| time.0),
            rounds: self.rounds,
            pause_every: self.pause_every,
            interval: Duration::from_secs_f64(1.0 / self.rounds_per_second),
            max_pause: self.max_pause.0,
            seed: self.seed,
            hazards: super::hazards(self.force),
            guardian: helpers::guardian_command(),
        }
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=1000.0).contains(&rate) => Ok(rate),
        _ => Err("expected a number from 0.001 to 1000".to_owned()),
    }
}
