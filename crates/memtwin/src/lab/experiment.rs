//! The experiment: the guest's program writes, the replication goes on, the program stops, the log
//! gets clean, and three sides are summed.

use super::Replicate;
use super::differing::{self, Looks};
use super::steer::Steer;
use super::talk::Talk;
use super::twin_file::TwinFile;
use crate::cli::{Cli, Command};
use crate::failure::Failure;
use crate::replicate_qemu::{self, Outcome};
use clap::Parser;
use memtwin_lab::aeshmem::{Accel, Files, Setup, WindowGuest, updates};
use memtwin_lab::image::Image;
use memtwin_lab::{Arch, MachineError, Progress};
use memtwin_pages::Layout;
use memtwin_qemu::blocks;
use memtwin_qmp::Qmp;
use memtwin_replicate::Stop;
use memtwin_report::record::{PageAt, Verdict};
use memtwin_report::{Case, Trial};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at the sums, and between two at the end of the replication.
const LOOK: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(20);
/// How much longer the program may write if memory and twin were not seen to differ.
const GRACE: Duration = Duration::from_secs(60);
/// How long QEMU may take for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is fixed before it begins.
pub(super) struct Experiment<'e> {
    pub(super) args: &'e Replicate,
    pub(super) setup: &'e Setup,
    pub(super) folder: &'e Path,
    pub(super) stop: &'e Stop,
}

/// What it came to.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) cases: Vec<Case>,
    pub(super) not_converged: bool,
    pub(super) closing: Vec<String>,
}

/// What was seen while the program wrote.
struct Written {
    looks: Looks,
    /// What the program has said.
    said: Vec<String>,
}

impl Experiment<'_> {
    /// Boots the guest and runs the experiment, and if it is wanted the control.
    ///
    /// Errors: QEMU can't be started, or the twin can't be had.
    pub(super) fn run(
        &self,
        image: &Image,
        mut twin: TwinFile,
        talk: &mut Talk,
    ) -> Result<Found, Failure> {
        let qmp = self.qmp();
        let Image { kernel, initrd } = image;
        let files = Files { memory: &self.args.memory, kernel, initrd, qmp: &qmp };
        let command = self.setup.command(&files, self.args.append.as_deref());
        let mut found = Found::default();
        talk.say(&format!("boots under {}", command.get_program().display()));
        let window = self.setup.window();
        let booted = WindowGuest::boot(&command, window, &self.folder.join("console"), talk);
        let mut guest = match booted {
            Ok((guest, about)) => {
                talk.say(&format!("guest ready: {about}"));
                guest
            }
            Err(error @ (MachineError::Start { .. } | MachineError::Log { .. })) => {
                return Err(Failure::environment(error));
            }
            Err(error) => {
                let trial = Trial::new("replicate/qemu", self.source(), &Layout::default());
                found.guest_failed(trial, &error);
                return Ok(found);
            }
        };
        let controls: &[bool] = if self.args.control { &[false, true] } else { &[false] };
        for &control in controls {
            self.once(control, &mut guest, &mut twin, talk, &mut found)?;
            if found.cases.iter().any(|case| !case.passed()) {
                break;
            }
        }
        Ok(found)
    }

    fn qmp(&self) -> PathBuf {
        self.folder.join("qmp")
    }

    fn source(&self) -> String {
        format!("qemu:{}", self.qmp().display())
    }

    /// The program writes, and what it writes is replicated and judged.
    fn once(
        &self,
        control: bool,
        guest: &mut WindowGuest,
        twin: &mut TwinFile,
        talk: &mut Talk,
        found: &mut Found,
    ) -> Result<(), Failure> {
        let name = if control { "replicate/qemu/control" } else { "replicate/qemu" };
        let words = self.words(twin.path())?;
        let replicate = match Cli::try_parse_from(&words).map(|cli| cli.command) {
            Ok(Command::Replicate(args)) => args,
            Ok(_) => return Err(Failure::usage("not the command that was meant")),
            Err(error) => return Err(Failure::usage(error)),
        };
        // What an earlier replication has left is no twin of this one's in pre-copy.
        twin.remove();
        let window = self.setup.window();
        talk.say(&format!("guest: tstaeshm dirty {}", window.words()));
        if let Err(error) = guest.dirty(talk) {
            found.guest_failed(Trial::new(name, self.source(), &Layout::default()), &error);
            return Ok(());
        }
        let shown: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        talk.say(&format!("host: {}", shown.join(" ")));
        let steer =
            Steer { memory: &self.args.memory, window, control, over: AtomicBool::new(false) };
        let (qmp, enough) = (self.qmp(), Stop::default());
        let (replicated, written) = thread::scope(|scope| {
            let run = || replicate_qemu::replicate(&replicate, &qmp, &enough, Some(&steer));
            let replication = scope.spawn(run);
            let written = self.meanwhile(guest, twin.path(), talk, || replication.is_finished());
            match &written {
                Ok(_) => steer.over.store(true, Ordering::Release),
                Err(_) => enough.set(),
            }
            while !replication.is_finished() {
                if self.stop.is_set() {
                    enough.set();
                }
                thread::sleep(TICK);
            }
            (replication.join(), written)
        });
        let replicated = replicated.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked));
        twin.ours |= replicated.is_ok();
        match (written, replicated) {
            // What the guest did comes first: the replication ended because of that.
            (Err(error), replicated) => {
                let none = || Trial::new(name, self.source(), &Layout::default());
                found.guest_failed(replicated.map_or_else(|_| none(), |done| done.trial), &error);
            }
            (Ok(_), Err(failure)) => return Err(failure),
            (Ok(written), Ok(outcome)) => {
                self.conclude(&written, outcome, guest, twin, talk, found);
            }
        }
        Ok(())
    }

    /// The command that replicates: the one that a person would type.
    fn words(&self, twin: &Path) -> Result<Vec<OsString>, Failure> {
        let joined = |prefix: &str, path: &Path| {
            let mut word = OsString::from(prefix);
            word.push(path);
            word
        };
        let mut words: Vec<OsString> = ["memtwin", "replicate"].map(OsString::from).into();
        words.push(joined("qemu:", &self.qmp()));
        words.push(joined("file:", twin));
        words.push("--block".into());
        words.push(self.block()?.into());
        let args = self.args;
        let time = |time: Duration| match time.as_micros() {
            micros if micros.is_multiple_of(1_000_000) => format!("{}s", time.as_secs()),
            micros if micros.is_multiple_of(1000) => format!("{}ms", time.as_millis()),
            micros => format!("{micros}us"),
        };
        let (interval, timeout) = (time(args.interval.0), time(args.timeout.0));
        words.extend(
            ["--until", "clean", "--interval", &interval, "--timeout", &timeout, "--quiet"]
                .map(OsString::from),
        );
        if let Some(bitmap) = &args.dirty_bitmap {
            words.push("--dirty-bitmap".into());
            words.push(bitmap.into());
        }
        Ok(words)
    }

    /// QEMU's whole name of the memory file's RAMBlock.
    fn block(&self) -> Result<String, Failure> {
        let mut qmp = Qmp::connect(&self.qmp(), PATIENCE).map_err(Failure::environment)?;
        let blocks = blocks(&mut qmp).map_err(Failure::environment)?;
        let ends = self.setup.block();
        let named = blocks.into_iter().map(|block| block.name).find(|name| name.ends_with(ends));
        named.ok_or_else(|| Failure::environment(format!("QEMU has no RAMBlock {ends}")))
    }

    /// Sums both files from time to time, and stops the program in the end.
    ///
    /// Errors: the guest does not obey, or we are interrupted.
    fn meanwhile(
        &self,
        guest: &mut WindowGuest,
        twin: &Path,
        talk: &mut Talk,
        finished: impl Fn() -> bool,
    ) -> Result<Written, MachineError> {
        let (began, window) = (Instant::now(), self.setup.window());
        let memory = &self.args.memory;
        let mut looks = Looks::default();
        while !finished() {
            if self.stop.wait(LOOK.min(self.args.seconds.0)) {
                return Err(MachineError::Cancelled);
            }
            let look = looks.look(memory, twin, &window);
            let look = look.map_err(|error| MachineError::Log { path: memory.clone(), error })?;
            if let Some(line) = look {
                talk.say(&line);
            }
            let patience = if looks.differed == 0 { GRACE } else { Duration::ZERO };
            if began.elapsed() >= self.args.seconds.0 + patience {
                break;
            }
        }
        let said = guest.stop(talk)?;
        talk.say(&format!("guest: {}", said.last().map_or("tstaeshm ended", String::as_str)));
        Ok(Written { looks, said })
    }

    /// The sums of the three sides, and what they mean beside the judge's verdict.
    fn conclude(
        &self,
        written: &Written,
        outcome: Outcome,
        guest: &mut WindowGuest,
        twin: &TwinFile,
        talk: &mut Talk,
        found: &mut Found,
    ) {
        found.not_converged |= outcome.not_converged;
        if let Some(control) = outcome.case.control() {
            let names = |pages: &BTreeSet<PageAt>| {
                let name = |page: &PageAt| format!("{} {}", page.region, page.gpa);
                pages.iter().map(name).collect::<Vec<_>>().join(", ")
            };
            let ended = if outcome.case.verdict() == Verdict::Differs { 1 } else { 0 };
            found.closing.push(format!(
                "control: flipped behind the log's back: a word of {}; the replication ended with \
                 {ended} and named {}",
                names(&control.injected),
                names(&control.found),
            ));
        } else {
            found.closing.extend(outcome.closing);
        }
        let window = self.setup.window();
        let Looks { taken, differed } = written.looks;
        found.closing.extend(written.said.last().cloned());
        found.closing.push(format!(
            "while it wrote, the sums were taken {taken} times, and differed {differed} times"
        ));
        let inside = match guest.sum(talk) {
            Ok(sum) => sum,
            Err(error) => return found.guest_failed(outcome.trial, &error),
        };
        let twin = twin.found();
        let file = |path: &Path| {
            let sum = differing::sum(path, &window);
            sum.map_err(|error| format!("{}: {error}", path.display()))
        };
        let sums = file(&self.args.memory).and_then(|memory| Ok([memory, file(&twin)?]));
        let [memory, copy] = match sums {
            Ok(sums) => sums,
            Err(error) => {
                found.cases.push(outcome.trial.inconclusive(error, Vec::new()));
                return;
            }
        };
        let part = match (window.offset, window.bytes) {
            (0, _) => String::new(),
            (offset, bytes) => format!(", {bytes} bytes from {offset} on"),
        };
        found.closing.push(format!("{memory} {}{part}", self.args.memory.display()));
        found.closing.push(format!("{copy} {}{part}", twin.display()));
        found.closing.push(format!("{inside} guest: tstaeshm sum {}", window.words()));
        let same = memory == copy && copy == inside;
        found.cases.push(self.case(written, outcome.case, outcome.trial, same));
    }

    /// The judge's verdict, unless there is more to say.
    fn case(&self, written: &Written, case: Case, trial: Trial, same: bool) -> Case {
        if case.control().is_some() {
            return case;
        }
        let kvm = self.setup.accel() == Accel::Kvm;
        let caches = "on this CPU the guest's stores to the device may bypass the caches through which \
                      the host reads (no FEAT_S2FWB), so the log is not what this shows";
        if kvm && self.setup.arch() == Arch::Aarch64 && case.verdict() == Verdict::Differs {
            let pages = case.lost().len();
            return trial.inconclusive(format!("{pages} pages differ; {caches}"), Vec::new());
        }
        if !case.passed() {
            return case;
        }
        if !updates(&written.said).is_some_and(|updates| updates > 0) {
            return trial.inconclusive("the guest's program wrote nothing", Vec::new());
        }
        if written.looks.differed == 0 {
            let never = "memory and twin were never seen to differ while the program wrote";
            return trial.inconclusive(never, Vec::new());
        }
        match (same, kvm) {
            (true, _) => case,
            (false, true) => trial.inconclusive(format!("the sums differ; {caches}"), Vec::new()),
            (false, false) => trial.differs("the three sums of the window are not the same"),
        }
    }
}

impl Found {
    /// The guest did not do its part.
    fn guest_failed(&mut self, trial: Trial, error: &MachineError) {
        let (reason, last): (String, &[String]) = match error {
            MachineError::Ended { what, status, last, .. } => {
                (format!("QEMU ended ({status}) before {what}"), last)
            }
            MachineError::Panicked { what, last, .. } => {
                (format!("the guest's kernel panicked before {what}"), last)
            }
            MachineError::TimedOut { what, limit, last, .. } => {
                (format!("no {what} within {} s", limit.as_secs()), last)
            }
            MachineError::Refused { order, rc, output } => {
                (format!("the guest's '{order}' returned {rc}"), output)
            }
            other => (other.to_string(), &[]),
        };
        if !last.is_empty() {
            self.closing.push("the last that the guest said:".to_owned());
            self.closing.extend(last.iter().map(|line| format!("    {line}")));
        }
        self.cases.push(trial.inconclusive(reason, Vec::new()));
    }
}
