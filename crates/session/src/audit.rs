//! An audit: does the dirty log of a running QEMU tell the truth about its guest?

mod all;
mod cases;
mod findings;
mod rounds;
mod stop;
mod untested;

use crate::controller::ReplicationController;
use crate::helper::HelperCommand;
use crate::judge::RunningPlan;
use crate::observer::SessionObserver;
use crate::qemu_guest::Attached;
pub use all::{AuditAll, audit_all, preview_all};
use findings::AuditFindings;
use memtwin_qemu::HazardPolicy;
use memtwin_qmp::{LibvirtDomain, MonitorAddress};
use memtwin_replicate::{CancelToken, Provenance};
use memtwin_report::record::ResolvedOptions;
use memtwin_report::{Case, ExitCode, Failure};
use memtwin_tap::TapPreview;
use std::time::{Duration, Instant};
use stop::{AuditStop, StopError};

/// What may be changed while an audit runs, of a QEMU that was not looked at.
const CHANGES: &str = "while it runs: migration capabilities and parameters, and on some versions a block node of \
    Memtwin's (docs/qemu.md)";

/// A guest of more memory than this is judged while it runs, unless told otherwise: reading it all takes
/// longer than it may stand still.
const LARGE: u64 = 4 << 30;

/// How an audit judges.
#[derive(Clone, Copy, Debug, Default)]
pub enum AuditJudge {
    /// At a stop; a guest of over 4 GiB while it runs.
    #[default]
    BySize,
    /// At a stop, whatever its size.
    Paused,
    /// While it runs.
    Running(RunningPlan),
}

impl AuditJudge {
    /// How a running guest of this much memory is judged; `None`: it is paused.
    fn running(self, bytes: u64) -> Option<RunningPlan> {
        match self {
            Self::BySize => (bytes > LARGE).then(RunningPlan::default),
            Self::Paused => None,
            Self::Running(plan) => Some(plan),
        }
    }
}

/// How much memory a QEMU's guest has.
fn memory(attached: &Attached) -> u64 {
    attached.blocks.iter().map(|block| block.used).sum()
}

/// What becomes of a guest of this much memory.
fn afterwards(config: &AuditConfig, bytes: u64) -> String {
    let pause = match config.judge.running(bytes) {
        None => "the guest is paused at the end while its memory is read, for --max-pause at most",
        Some(RunningPlan { never_pause: false, .. }) => {
            "the guest is paused only if pages seem to be lost, to read these once more, for --max-pause at most"
        }
        Some(RunningPlan { never_pause: true, .. }) => "the guest is not paused",
    };
    format!("all put back at the end; {pause}")
}

/// How long an audit runs, unless told.
const DEFAULT_TIME: Duration = Duration::from_secs(5);

/// What to audit.
#[derive(Clone, Debug)]
pub struct AuditConfig {
    /// Where QEMU's QMP monitor is.
    pub monitor: MonitorAddress,
    /// QEMU's process id; `None`: found by its socket.
    pub pid: Option<u32>,
    /// How long to audit before the guest is paused and judged; `None`: 5 s, unless there is a number of
    /// rounds.
    pub time: Option<Duration>,
    /// At most this many rounds after pre-copy.
    pub rounds: Option<u32>,
    /// Pause the guest and judge after every this many rounds too.
    pub pause_every: Option<u32>,
    /// How long the guest is let alone between two rounds.
    pub interval: Duration,
    /// How long the guest may stand still for us at most.
    pub max_pause: Duration,
    /// How the guest is judged.
    pub judge: AuditJudge,
    /// Where the control's random choices begin; `None`: somewhere new.
    pub seed: Option<u64>,
    /// Whether a guest that QEMU is known to harm by migrating it is audited all the same.
    pub hazards: HazardPolicy,
    /// How the guardian is started that leaves QEMU as it was found if this process is killed.
    pub guardian: HelperCommand,
}

impl AuditConfig {
    /// Two rounds a second for 5 s, the guest paused for 250 ms at most.
    pub fn new(monitor: impl Into<MonitorAddress>, guardian: HelperCommand) -> Self {
        Self {
            monitor: monitor.into(),
            pid: None,
            time: None,
            rounds: None,
            pause_every: None,
            interval: Duration::from_millis(500),
            max_pause: Duration::from_millis(250),
            judge: AuditJudge::default(),
            seed: None,
            hazards: HazardPolicy::Refuse,
            guardian,
        }
    }
}

/// What counts of an audit's options where they were not typed, by their names.
pub fn resolved_audit(
    seed: Option<u64>,
    time: Option<Duration>,
    rounds: Option<u32>,
) -> ResolvedOptions {
    let seed = seed.map(|seed| ("seed".to_owned(), seed.into()));
    let time = (time.is_none() && rounds.is_none())
        .then(|| ("seconds".to_owned(), format!("{}s", DEFAULT_TIME.as_secs()).into()));
    seed.into_iter().chain(time).collect()
}

/// What an audit came to.
#[derive(Debug)]
pub struct Audited {
    /// A case for each RAMBlock, and the control's.
    pub cases: Vec<Case>,
    /// What there is to say beside them, for the record.
    pub notes: Vec<String>,
}

/// Audits, and leaves the QEMU as it was found.
///
/// Errors: it can't be attached to, there is no room for its twin, or a stop came before anything was begun.
pub fn audit(
    config: &AuditConfig,
    stop: &CancelToken,
    observer: &mut dyn SessionObserver,
) -> Result<Audited, Failure> {
    run(config, None, stop, observer)
}

/// As [`audit`], of a guest of which somebody knows when enough was written: its time counts from then.
///
/// Errors: as [`audit`].
pub fn audit_steered(
    config: &AuditConfig,
    controller: &dyn ReplicationController,
    stop: &CancelToken,
    observer: &mut dyn SessionObserver,
) -> Result<Audited, Failure> {
    run(config, Some(controller), stop, observer)
}

fn run(
    config: &AuditConfig,
    controller: Option<&dyn ReplicationController>,
    stop: &CancelToken,
    observer: &mut dyn SessionObserver,
) -> Result<Audited, Failure> {
    let mut attached = Attached::new(&config.monitor, config.pid)?;
    check_room(config, &attached)?;
    let origin = attached.provenance();
    observer.case_started("audit");
    let seed = config.seed.unwrap_or_else(crate::seed::fresh);
    let mut findings = AuditFindings::new(origin.source.clone(), attached.hypervisor());
    let began = Instant::now();
    let time = match (config.time, config.rounds) {
        (Some(time), _) => Some(time),
        (None, Some(_)) => None,
        (None, None) => Some(DEFAULT_TIME),
    };
    loop {
        let left = match controller {
            Some(_) => time,
            None => time.map(|time| time.saturating_sub(began.elapsed())),
        };
        let rounds = |all: u32| all.saturating_sub(findings.deltas());
        let stop_at = AuditStop {
            interval: config.interval,
            rounds: match (config.pause_every, config.rounds.map(rounds)) {
                (Some(every), Some(left)) => Some(every.min(left)),
                (every, left) => every.or(left),
            },
            time: left,
            max_pause: config.max_pause,
            running: config.judge.running(memory(&attached)),
            controller,
            seed,
            hazards: config.hazards,
            guardian: &config.guardian,
            stop,
        };
        match stop_at.run(&mut attached, &mut findings, observer) {
            Ok(()) => {}
            // Nothing was begun, and it was us who broke off.
            Err(StopError::NotBegun(_)) if findings.is_empty() && stop.is_set() => {
                return Err(Failure {
                    code: ExitCode::Interrupted,
                    message: "interrupted".to_owned(),
                });
            }
            // It was begun, and then there was no QEMU any more.
            Err(StopError::NotBegun(reason)) if findings.is_empty() && !attached.lives() => {
                findings.trouble(reason);
                break;
            }
            // Nothing was begun, so there is nothing to report.
            Err(StopError::NotBegun(reason)) if findings.is_empty() => {
                return Err(Failure::environment(reason));
            }
            Err(StopError::NotBegun(reason) | StopError::Broken(reason)) => {
                findings.trouble(reason);
                break;
            }
        }
        let time_over = time.is_some_and(|time| began.elapsed() >= time);
        let rounds_over = config.rounds.is_some_and(|all| findings.deltas() >= all);
        if config.pause_every.is_none() || time_over || rounds_over || stop.is_set() {
            break;
        }
    }

    // A connection that was left to the guardian is not ours any more.
    let why_idle = match findings.has_trouble() {
        true => None,
        false => memtwin_qemu::status(&mut attached.qmp).ok().and_then(|now| now.why_idle()),
    };
    let (cases, notes) = findings.close(&attached.blocks, why_idle.as_deref());
    let mut all = Vec::from_iter(origin.title());
    all.extend(attached.notes());
    all.extend(notes);
    if stop.is_set() {
        all.push("interrupted".to_owned());
    }
    Ok(Audited { cases, notes: all })
}

/// Errors unless there is room for the twin.
fn check_room(config: &AuditConfig, attached: &Attached) -> Result<(), Failure> {
    let (process, blocks) = (attached.process(), &attached.blocks);
    crate::room::for_copy("the audit's twin", &process, blocks, &config.monitor)
        .map_err(Failure::environment)
}

/// What would be audited, and what would be changed meanwhile, in lines. Changes nothing.
///
/// Errors: as [`audit`], before anything is begun.
pub fn preview_audit(config: &AuditConfig) -> Result<Vec<String>, Failure> {
    if let MonitorAddress::Libvirt(domain) = &config.monitor {
        // To use its monitor is to mark it.
        let state = domain.state().map_err(Failure::environment)?;
        return Ok(vec![
            format!(
                "{} ({state}): would be audited through libvirt's own monitor, which was not used now",
                config.monitor
            ),
            LibvirtDomain::TAINT.to_owned(),
            format!("{CHANGES}; {}", afterwards(config, 0)),
        ]);
    }
    let mut attached = Attached::new(&config.monitor, config.pid)?;
    let changes =
        TapPreview::of(&mut attached.qmp, config.hazards).map_err(Failure::environment)?;
    check_room(config, &attached)?;
    let mut lines = Vec::from_iter(attached.provenance().title());
    lines.extend(attached.notes());
    for block in &attached.blocks {
        let windows: Vec<String> = block
            .windows
            .iter()
            .map(|window| format!("{} at offset {:#x}", window.gpa, window.offset))
            .collect();
        let seen = match windows.is_empty() {
            _ if !block.is_named => {
                "skipped: it has no name, so QEMU does not migrate it".to_owned()
            }
            true if block.hva.is_none() && block.used > 0 => {
                "skipped: this QEMU does not say where it lies, as the guest does not see it"
                    .to_owned()
            }
            true => "not mapped".to_owned(),
            false => windows.join(", "),
        };
        lines.push(format!("audit/{}: {} bytes, {seen}", block.name, block.used));
    }
    lines.push(format!("held in pre-copy by {}", changes.hold));
    lines.push(format!(
        "while it runs: {}; {}",
        changed(&changes),
        afterwards(config, memory(&attached))
    ));
    Ok(lines)
}

/// What would be changed, in words.
fn changed(changes: &TapPreview) -> String {
    let named = |state: bool| {
        let these = changes.capabilities.iter().filter(|(_, set)| *set == state);
        these.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let parts = [
        ("migration capabilities on: ", named(true)),
        ("off: ", named(false)),
        ("parameters: ", changes.parameters.join(", ")),
        ("", if changes.adds_node { "a block node of Memtwin's" } else { "" }.to_owned()),
    ];
    let parts = parts.into_iter().filter(|(_, what)| !what.is_empty());
    parts.map(|(kind, what)| format!("{kind}{what}")).collect::<Vec<_>>().join("; ")
}
