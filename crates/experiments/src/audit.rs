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
use memtwin_report::{Case, CaseBuilder, Failure};
use memtwin_session::{AuditConfig, Audited};
use std::thread;
use std::time::Duration;

/// How long QEMU may take for an answer.
const QMP_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How often it is audited, until each writer was seen to write meanwhile.
const ATTEMPTS: u32 = 3;
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

/// Audits it, and sees to it that each writer wrote meanwhile.
fn audited(
    config: &AuditExperimentConfig,
    spec: &TrafficSpec<'_>,
    guest: &mut TrafficGuest,
    stop: &CancelToken,
    progress: &mut dyn Progress,
    result: &mut RunResult,
) -> Result<(), Failure> {
    let [monitor, watched] = spec.monitors();
    let mut session = AuditConfig {
        time: Some(config.time),
        max_pause: MAX_PAUSE,
        ..AuditConfig::new(monitor.as_path(), config.guardian.clone())
    };
    let enough = CancelToken::default();
    progress.say(&format!("host: memtwin audit {}", monitor.display()));
    let mut attempts = ATTEMPTS;
    let (Audited { cases, notes }, seen) = loop {
        attempts -= 1;
        let (audited, seen) = thread::scope(|scope| {
            let audit = scope.spawn(|| memtwin_session::audit(&session, &enough, &mut ()));
            let mut look = || {
                let mut qmp =
                    Qmp::connect(&watched, QMP_TIMEOUT).map_err(|error| error.to_string())?;
                let mut goes_on =
                    || migration(&mut qmp).is_ok_and(|m| m.status == MigrationStatus::Active);
                while !goes_on() {
                    if audit.is_finished() || stop.is_set() {
                        return Err("the audit ended before it was seen to go on".to_owned());
                    }
                    thread::sleep(POLL_INTERVAL);
                }
                watch(guest, progress, &mut goes_on)
            };
            let seen = look();
            while !audit.is_finished() {
                if stop.is_set() {
                    enough.set();
                }
                thread::sleep(POLL_INTERVAL);
            }
            (audit.join(), seen)
        });
        let audited = audited.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked))?;
        // On a busy board the first pass may take all of the time. What was found to be wrong is not
        // looked at again.
        let again = seen.is_err() && audited.cases.iter().all(Case::passed) && !stop.is_set();
        if !again || attempts == 0 {
            break (audited, seen);
        }
        session.time = session.time.map(|time| time * 2);
        progress.say("a writer was not seen to write in the time: once more, for twice as long");
    };
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

/// Looks until each writer has written since it was first asked. Both looks lie within the audit, so
/// what was written between was logged or lost.
fn watch(
    guest: &mut TrafficGuest,
    progress: &mut dyn Progress,
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<(Counts, Counts), String> {
    let before = guest.counts(progress).map_err(|error| error.to_string())?;
    loop {
        let after = guest.counts(progress).map_err(|error| error.to_string())?;
        if !goes_on() {
            let silent = before.iter().zip(&after).find(|(before, after)| after.1 <= before.1);
            let name = silent.map_or("a writer", |(before, _)| before.0);
            return Err(format!("{name} was not seen to write while the audit went on"));
        }
        if before.iter().zip(&after).all(|(before, after)| after.1 > before.1) {
            let shown: Vec<String> = after.iter().map(|(name, n)| format!("{name} {n}")).collect();
            progress.say(&format!("guest: {}", shown.join(", ")));
            return Ok((before, after));
        }
    }
}
