//! The experiment: the guest's program writes, the replication goes on, the program stops, the log
//! gets clean, and three sides are summed.

use super::Replicate;
use super::differing::Looks;
use super::found::Found;
use super::steer::Steer;
use super::talk::Talk;
use super::twin_file::TwinFile;
use crate::cli::{Cli, Command};
use crate::failure::Failure;
use crate::replicate_qemu;
use clap::Parser;
use memtwin_lab::aeshmem::{Files, Setup, WindowGuest};
use memtwin_lab::image::Image;
use memtwin_lab::{MachineError, Progress};
use memtwin_pages::Layout;
use memtwin_qemu::blocks;
use memtwin_qmp::Qmp;
use memtwin_replicate::Stop;
use memtwin_report::Trial;
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

/// What was seen while the program wrote.
pub(super) struct Written {
    pub(super) looks: Looks,
    /// What the program has said.
    pub(super) said: Vec<String>,
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
                found.guest_failed(trial, &[], &error);
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
        control: bool,
        guest: &mut WindowGuest,
        twin: &mut TwinFile,
        talk: &mut Talk,
        found: &mut Found,
    ) -> Result<(), Failure> {
        let name = if control { "replicate/qemu/control" } else { "replicate/qemu" };
        let none = || Trial::new(name, self.source(), &Layout::default());
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
            found.guest_failed(none(), &[], &error);
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
                let (trial, lost) = match &replicated {
                    Ok(done) => (done.trial.clone(), done.case.lost()),
                    Err(_) => (none(), &[][..]),
                };
                found.guest_failed(trial, lost, &error);
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
}
