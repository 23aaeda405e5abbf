//! The words of `memtwin audit`.

use super::{JudgeArgs, OutputArgs, pause};
use crate::helpers;
use crate::values::Time;
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use memtwin_report::Failure;
use memtwin_report::record::ResolvedOptions;
use memtwin_session::{AddressError, AuditConfig, AuditJudge, MonitorAddress, resolved_audit};
use std::ffi::OsString;
use std::time::Duration;

/// `memtwin audit`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Audit {
    /// QEMU's QMP monitor: the path of its socket (`-qmp unix:PATH,server=on,wait=off`), `@NAME` (an
    /// abstract socket), `tcp:HOST:PORT`, `fd:N` (a connected socket that memtwin was started with) or
    /// `libvirt:DOMAIN[@URI]` (libvirt then marks the domain as tainted, custom-monitor)
    #[arg(required_unless_present = "all", value_parser = OsStringValueParser::new().try_map(target))]
    pub(crate) target: Option<MonitorAddress>,
    /// Audit every QEMU of this host that can be reached, one after the other (those of libvirt through
    /// libvirt); case names begin with `audit/PID/`
    #[arg(long, conflicts_with_all = ["target", "pid"])]
    pub(crate) all: bool,
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
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) judge: JudgeArgs,
    /// Where the control's random choices begin
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Audit a guest even if QEMU is known to harm one like it by migrating it (docs/qemu.md)
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
    /// What counts of what was not typed.
    pub(crate) fn resolved(&self) -> ResolvedOptions {
        resolved_audit(self.seed, self.seconds.map(|time| time.0), self.rounds)
    }

    /// How the guest is judged.
    ///
    /// Errors: options that contradict each other.
    pub(crate) fn judge(&self) -> Result<AuditJudge, Failure> {
        match (self.judge.judge()?, self.pause_every) {
            (AuditJudge::Running(_), Some(_)) => Err(Failure::usage(
                "--pause-every is for --judge paused: a running guest is not paused between its rounds",
            )),
            (AuditJudge::BySize, Some(_)) => Ok(AuditJudge::Paused),
            (judge, _) => Ok(judge),
        }
    }

    /// What it asks for, of the QEMU with this monitor.
    pub(crate) fn config(
        &self,
        monitor: MonitorAddress,
        pid: Option<u32>,
        judge: AuditJudge,
    ) -> AuditConfig {
        AuditConfig {
            monitor,
            pid,
            time: self.seconds.map(|time| time.0),
            rounds: self.rounds,
            pause_every: self.pause_every,
            interval: Duration::from_secs_f64(1.0 / self.rounds_per_second),
            max_pause: self.max_pause.0,
            judge,
            seed: self.seed,
            hazards: super::hazards(self.force),
            guardian: helpers::guardian_command(),
        }
    }
}

fn target(given: OsString) -> Result<MonitorAddress, AddressError> {
    MonitorAddress::parse(&given)
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=1000.0).contains(&rate) => Ok(rate),
        _ => Err("expected a number from 0.001 to 1000".to_owned()),
    }
}
