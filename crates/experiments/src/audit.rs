//! A Linux guest whose devices write its RAM is audited, here under KVM or TCG, or on a board under KVM/arm64.

use crate::config::AuditExperimentConfig;
use crate::remote_experiment::{RemoteExperiment, refuse_local_options};
use crate::run_result::{ExperimentReport, RunResult};
use crate::{MAX_PAUSE, guest_image, remote_words};
use memtwin_lab::aeshmem::{Accel, Choice, Setup};
use memtwin_lab::image::{Image, ImageSpec};
use memtwin_lab::traffic::{Counts, MODULES, TrafficGuest, TrafficSpec};
use memtwin_lab::{Arch, MachineError, Progress, provision};
use memtwin_pages::Layout;
use memtwin_qemu::{MigrationStatus, migration};
use memtwin_qmp::Qmp;
use memtwin_replicate::CancelToken;
use memtwin_report::record::PageAt;
use memtwin_report::{CaseBuilder, Failure};
use memtwin_session::{AuditConfig, Audited, ReplicationController};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long QEMU may take for an answer.
const QMP_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How long each writer may take until it was seen to write: an emulated board that does much else is slow.
const WRITERS_TIMEOUT: Duration = Duration::from_secs(600);
/// The case of the traffic itself.
const TRAFFIC: &str = "audit/traffic";

/// The experiment, once it is known that it can be.
#[derive(Debug)]
pub struct AuditExperiment {
    config: AuditExperimentConfig,
}

impl AuditExperiment {
    /// Errors: an option that holds on this machine alone was given for another.
    pub fn new(config: AuditExperimentConfig) -> Result<Self, Failure> {
        if config.hosts != "local" {
            let options = [
                ("--arch x86_64", config.arch != Arch::Aarch64),
                ("--accel tcg", config.accel == Some(Accel::Tcg)),
            ];
            refuse_local_options(&config.hosts, &options)?;
        }
        Ok(Self { config })
    }

    /// Runs it.
    ///
    /// Errors: something is missing, here or there.
    pub fn run(
        &self,
        command: String,
        stop: &CancelToken,
        progress: &mut dyn Progress,
    ) -> Result<ExperimentReport, Failure> {
        let config = &self.config;
        if config.hosts == "local" {
            return run_here(config, command, stop, progress);
        }
        let experiment = RemoteExperiment {
            case: "audit",
            hosts: &config.hosts,
            args: &config.remote,
            modules: &MODULES,
            ring: config.ring,
            window: None,
            words: &|guest, ring, _| remote_words::audit(config, guest, ring),
        };
        experiment.run(command, stop, progress)
    }
}

fn run_here(
    config: &AuditExperimentConfig,
    command: String,
    stop: &CancelToken,
    progress: &mut dyn Progress,
) -> Result<ExperimentReport, Failure> {
    provision::need_qemu(config.arch).map_err(Failure::environment)?;
    let accel = accel(config)?;
    let folder = crate::run_folder()?;
    let Image { kernel, initrd } = image(config, progress)?;
    let spec = TrafficSpec {
        arch: config.arch,
        accel,
        ring: config.ring,
        kernel: &kernel,
        initrd: &initrd,
        folder: folder.path(),
    };
    let program = spec.command();
    progress.say(&format!("boots under {}, {}", program.get_program().display(), accel.name()));
    let mut result = RunResult::default();
    match spec.boot(progress) {
        Ok((mut guest, about)) => {
            progress.say(&format!("guest ready: {about}"));
            audited(config, &spec, &mut guest, stop, progress, &mut result)?;
        }
        Err(error @ (MachineError::Start { .. } | MachineError::Log { .. })) => {
            return Err(Failure::environment(error));
        }
        Err(error) => result.guest_failed(traffic(), &[], &error),
    }
    Ok(result.report(command, stop))
}

fn traffic() -> CaseBuilder {
    CaseBuilder::new(TRAFFIC, "guest", &Layout::default())
}

/// What runs the guest's code: chosen, or refused, as for the replication.
fn accel(config: &AuditExperimentConfig) -> Result<Accel, Failure> {
    let AuditExperimentConfig { arch, accel, ring, .. } = *config;
    let choice = Choice { arch, accel, layout: None, cpu: None, bytes: 1 << 20, ring };
    Setup::choose(&choice).map(|setup| setup.accel()).map_err(Failure::environment)
}

fn image(config: &AuditExperimentConfig, progress: &mut dyn Progress) -> Result<Image, Failure> {
    if let Some(folder) = &config.image {
        return Ok(Image { kernel: folder.join("kernel"), initrd: folder.join("initrd") });
    }
    let cache = provision::open_cache(progress).map_err(Failure::environment)?;
    let spec = ImageSpec { modules: &MODULES, ..guest_image(config.arch, &[]) };
    spec.build(&cache, progress).map_err(Failure::environment)
}

/// Goes on until each writer was seen to write.
#[derive(Debug, Default)]
struct UntilWritten {
    seen: AtomicBool,
}

impl ReplicationController for UntilWritten {
    fn is_over(&self) -> bool {
        // What was counted was written before.
        self.seen.load(Ordering::Acquire)
    }

    fn is_control(&self) -> bool {
        false
    }

    fn tamper(&self, _: &Layout) -> Result<Vec<PageAt>, String> {
        Err("an audit has a control of its own".to_owned())
    }
}

/// Audits it until each writer wrote meanwhile, and for the time that was asked for at least.
fn audited(
    config: &AuditExperimentConfig,
    spec: &TrafficSpec<'_>,
    guest: &mut TrafficGuest,
    stop: &CancelToken,
    progress: &mut dyn Progress,
    result: &mut RunResult,
) -> Result<(), Failure> {
    let [monitor, watched] = spec.monitors();
    let session = AuditConfig {
        time: Some(Duration::ZERO),
        max_pause: MAX_PAUSE,
        ..AuditConfig::new(monitor.as_path(), config.guardian.clone())
    };
    progress.say(&format!("host: memtwin audit {}", monitor.display()));
    let written = UntilWritten::default();
    let (audited, seen) = thread::scope(|scope| {
        let audit =
            scope.spawn(|| memtwin_session::audit_steered(&session, &written, stop, &mut ()));
        let goes_on = || !audit.is_finished() && !stop.is_set();
        let seen = begun(&watched, goes_on).and_then(|since| {
            let seen = watch(guest, progress, since, goes_on)?;
            while goes_on() && since.elapsed() < config.time {
                thread::sleep(POLL_INTERVAL);
            }
            Ok(seen)
        });
        written.seen.store(true, Ordering::Release);
        (audit.join(), seen)
    });
    let audited = audited.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked));
    let Audited { cases, notes } = audited?;
    result.cases.extend(cases);
    result.notes.extend(notes);
    match seen {
        Ok((before, after)) => {
            let risen = before.iter().zip(&after).map(|((name, before), (_, after))| {
                format!("while it was audited, {name} went from {before} to {after}")
            });
            result.notes.extend(risen);
        }
        Err(why) => result.cases.push(traffic().inconclusive(why, Vec::new())),
    }
    Ok(())
}

/// Waits until QEMU logs what is written. Returns when that was seen.
fn begun(monitor: &Path, goes_on: impl Fn() -> bool) -> Result<Instant, String> {
    let mut qmp = Qmp::connect(monitor, QMP_TIMEOUT).map_err(|error| error.to_string())?;
    while !migration(&mut qmp).is_ok_and(|now| now.status == MigrationStatus::Active) {
        if !goes_on() {
            return Err("the audit ended before it was seen to go on".to_owned());
        }
        thread::sleep(POLL_INTERVAL);
    }
    Ok(Instant::now())
}

/// Looks until each writer has written since it was first asked. Both looks lie within the audit, so
/// what was written between was logged or lost.
fn watch(
    guest: &mut TrafficGuest,
    progress: &mut dyn Progress,
    since: Instant,
    goes_on: impl Fn() -> bool,
) -> Result<(Counts, Counts), String> {
    let before = guest.counts(progress).map_err(|error| error.to_string())?;
    loop {
        let after = guest.counts(progress).map_err(|error| error.to_string())?;
        let silent = before.iter().zip(&after).find(|(before, after)| after.1 <= before.1);
        match silent {
            _ if !goes_on() => {
                return Err("the audit ended before each writer had written".to_owned());
            }
            None => {
                let shown: Vec<String> =
                    after.iter().map(|(name, n)| format!("{name} {n}")).collect();
                progress.say(&format!("guest: {}", shown.join(", ")));
                return Ok((before, after));
            }
            Some((writer, _)) if since.elapsed() > WRITERS_TIMEOUT => {
                return Err(format!("{} was not seen to write while the audit went on", writer.0));
            }
            Some(_) => {}
        }
    }
}
