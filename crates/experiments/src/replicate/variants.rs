//! The experiment: the guest's program writes, the replication goes on, the program stops, the log
//! gets clean, and three sides are summed.

use super::typed_command::typed_command;
use crate::MAX_PAUSE;
use crate::config::ReplicateExperimentConfig;
use crate::run_result::RunResult;
use crate::sum_checks::SumChecks;
use crate::twin_file::TwinFile;
use crate::window_controller::WindowController;
use memtwin_lab::aeshmem::{Files, Setup, WindowGuest};
use memtwin_lab::image::Image;
use memtwin_lab::{MachineError, Progress};
use memtwin_pages::Layout;
use memtwin_qemu::blocks;
use memtwin_qmp::Qmp;
use memtwin_replicate::{CancelToken, Until};
use memtwin_report::{CaseBuilder, Failure};
use memtwin_session::{QemuReplicateConfig, TwinTarget, replicate_qemu};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at the sums, and between two at the end of the replication.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How many rounds of a twin on another host the program must write through: one that waits for the first
/// copy's end, and some in which the log names pages.
const ROUNDS: u32 = 5;
/// How much longer the program may write if memory and twin were not seen to differ, or there were not
/// this many rounds.
const GRACE: Duration = Duration::from_secs(60);
/// How long QEMU may take for an answer.
const QMP_TIMEOUT: Duration = Duration::from_secs(30);

/// A replication of the experiment, by where its twin is and whether it is the control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variant {
    /// Into a file here.
    File,
    /// Onto another host.
    Remote,
    /// Into a file, with a word changed behind the log's back.
    Control,
}

impl Variant {
    const ALL: [Self; 3] = [Self::File, Self::Remote, Self::Control];

    fn is_wanted(self, config: &ReplicateExperimentConfig) -> bool {
        match self {
            Self::File => true,
            Self::Remote => config.to.is_some(),
            Self::Control => config.control,
        }
    }

    /// Its case.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::File => "replicate/qemu",
            Self::Remote => "replicate/qemu/remote",
            Self::Control => "replicate/qemu/control",
        }
    }
}

/// What is fixed before it begins.
pub(super) struct WindowReplication<'e> {
    pub(super) config: &'e ReplicateExperimentConfig,
    pub(super) setup: &'e Setup,
    pub(super) folder: &'e Path,
    pub(super) stop: &'e CancelToken,
}

/// What was seen while the program wrote.
pub(super) struct WriterRun {
    pub(super) variant: Variant,
    pub(super) checks: SumChecks,
    /// What the program has said.
    pub(super) said: Vec<String>,
}

impl WindowReplication<'_> {
    /// Boots the guest and runs the experiment, and if it is wanted the control.
    ///
    /// Errors: QEMU can't be started, or the twin can't be obtained.
    pub(super) fn run(
        &self,
        image: &Image,
        mut twin: TwinFile,
        progress: &mut dyn Progress,
    ) -> Result<RunResult, Failure> {
        let qmp = self.qmp();
        let Image { kernel, initrd } = image;
        let files = Files { memory: &self.config.memory, kernel, initrd, qmp: &qmp };
        let mut command = self.setup.command(&files, self.config.append.as_deref());
        let mut result = RunResult::default();
        progress.say(&format!("boots under {}", command.get_program().display()));
        let window = self.setup.window();
        let booted =
            WindowGuest::boot(&mut command, window, &self.folder.join("console"), progress);
        let mut guest = match booted {
            Ok((guest, about)) => {
                progress.say(&format!("guest ready: {about}"));
                guest
            }
            Err(error @ (MachineError::Start { .. } | MachineError::Log { .. })) => {
                return Err(Failure::environment(error));
            }
            Err(error) => {
                let trial = CaseBuilder::new("replicate/qemu", self.source(), &Layout::default());
                result.guest_failed(trial, &[], &error);
                return Ok(result);
            }
        };
        for variant in Variant::ALL.into_iter().filter(|variant| variant.is_wanted(self.config)) {
            self.once(variant, &mut guest, &mut twin, progress, &mut result)?;
            if result.cases.iter().any(|case| !case.passed()) {
                break;
            }
        }
        Ok(result)
    }

    /// Where QEMU listens.
    pub(super) fn qmp(&self) -> PathBuf {
        self.folder.join("qmp")
    }

    fn source(&self) -> String {
        format!("qemu:{}", self.qmp().display())
    }

    /// The program writes, and what it writes is replicated and judged.
    fn once(
        &self,
        variant: Variant,
        guest: &mut WindowGuest,
        twin: &mut TwinFile,
        progress: &mut dyn Progress,
        result: &mut RunResult,
    ) -> Result<(), Failure> {
        let none = || CaseBuilder::new(variant.name(), self.source(), &Layout::default());
        let twin_target = match (variant, &self.config.to) {
            (Variant::Remote, Some(to)) => TwinTarget::Remote(to.clone()),
            _ => TwinTarget::file(twin.path()),
        };
        let session = self.session(twin_target)?;
        // What an earlier replication has left is no twin of this one's in pre-copy.
        twin.remove();
        let window = self.setup.window();
        progress.say(&format!("guest: tstaeshm dirty {}", window.words()));
        if let Err(error) = guest.dirty(progress) {
            result.guest_failed(none(), &[], &error);
            return Ok(());
        }
        progress.say(&format!("host: {}", typed_command(&session)));
        let (memory, control) = (self.config.memory.as_path(), variant == Variant::Control);
        let (over, rounds) = (AtomicBool::new(false), AtomicU32::new(0));
        let controller = WindowController { memory, window, control, over, rounds };
        let enough = CancelToken::default();
        let (replicated, written) = thread::scope(|scope| {
            let run = || replicate_qemu(&session, Some(&controller), &enough, &mut ());
            let replication = scope.spawn(run);
            let here = (variant != Variant::Remote).then(|| twin.path());
            // Long enough that there is something to be proved.
            let seen = |checks: &SumChecks| match here {
                Some(_) => checks.differed > 0,
                None => controller.rounds.load(Ordering::Relaxed) >= ROUNDS,
            };
            let finished = || replication.is_finished();
            let written = self.meanwhile(variant, guest, here, progress, seen, finished);
            match &written {
                Ok(_) => controller.over.store(true, Ordering::Release),
                Err(_) => enough.set(),
            }
            while !replication.is_finished() {
                if self.stop.is_set() {
                    enough.set();
                }
                thread::sleep(POLL_INTERVAL);
            }
            (replication.join(), written)
        });
        let replicated = replicated.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked));
        twin.ours |= variant != Variant::Remote && replicated.is_ok();
        match (written, replicated) {
            // What the guest did comes first: the replication ended because of that.
            (Err(error), replicated) => {
                let (trial, lost) = match &replicated {
                    Ok(done) => (done.trial.clone(), done.case.lost()),
                    Err(_) => (none(), &[][..]),
                };
                result.guest_failed(trial, lost, &error);
            }
            (Ok(_), Err(failure)) => return Err(failure),
            (Ok(written), Ok(outcome)) => {
                self.conclude(&written, outcome, guest, twin, progress, result);
            }
        }
        Ok(())
    }

    /// The session that replicates.
    ///
    /// Errors: QEMU does not say what its memory is.
    fn session(&self, twin: TwinTarget) -> Result<QemuReplicateConfig, Failure> {
        let config = self.config;
        Ok(QemuReplicateConfig {
            block: Some(self.block()?),
            until: Until::Clean,
            interval: config.interval,
            time: Some(config.timeout),
            dirty_bitmap: config.dirty_bitmap.clone(),
            max_pause: MAX_PAUSE,
            ..QemuReplicateConfig::new(self.qmp(), twin, config.guardian.clone())
        })
    }

    /// QEMU's whole name of the memory file's RAMBlock.
    fn block(&self) -> Result<String, Failure> {
        let mut qmp = Qmp::connect(&self.qmp(), QMP_TIMEOUT).map_err(Failure::environment)?;
        let blocks = blocks(&mut qmp).map_err(Failure::environment)?;
        let ends = self.setup.block();
        let named = blocks.into_iter().map(|block| block.name).find(|name| name.ends_with(ends));
        named.ok_or_else(|| Failure::environment(format!("QEMU has no RAMBlock {ends}")))
    }

    /// Sums both files from time to time, if the twin's is here, and stops the program in the end.
    ///
    /// Errors: the guest does not obey, or we are interrupted.
    fn meanwhile(
        &self,
        variant: Variant,
        guest: &mut WindowGuest,
        twin: Option<&Path>,
        progress: &mut dyn Progress,
        seen: impl Fn(&SumChecks) -> bool,
        finished: impl Fn() -> bool,
    ) -> Result<WriterRun, MachineError> {
        let (began, window) = (Instant::now(), self.setup.window());
        let memory = &self.config.memory;
        let mut checks = SumChecks::default();
        while !finished() {
            if self.stop.wait(CHECK_INTERVAL.min(self.config.time)) {
                return Err(MachineError::Cancelled);
            }
            let checked = twin.map_or(Ok(None), |twin| checks.check(memory, twin, &window));
            let checked =
                checked.map_err(|error| MachineError::Log { path: memory.clone(), error })?;
            if let Some(line) = checked {
                progress.say(&line);
            }
            let patience = if seen(&checks) { Duration::ZERO } else { GRACE };
            if began.elapsed() >= self.config.time + patience {
                break;
            }
        }
        let said = guest.stop(progress)?;
        progress.say(&format!("guest: {}", said.last().map_or("tstaeshm ended", String::as_str)));
        Ok(WriterRun { variant, checks, said })
    }
}
