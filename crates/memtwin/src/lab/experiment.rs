//! The experiment: the guest's program writes, the replication goes on, the program stops, the log
//! gets clean, and three sides are summed.

use super::Replicate;
use super::differing::Looks;
use super::found::Found;
use super::steer::Steer;
use super::talk::Talk;
use super::twin_file::TwinFile;
use crate::cli::{Cli, Command};
use clap::Parser;
use memtwin_lab::aeshmem::{Files, Setup, WindowGuest};
use memtwin_lab::image::Image;
use memtwin_lab::{MachineError, Progress};
use memtwin_pages::Layout;
use memtwin_qemu::blocks;
use memtwin_qmp::Qmp;
use memtwin_replicate::Stop;
use memtwin_report::Failure;
use memtwin_report::Trial;
use memtwin_session::replicate_qemu;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at the sums, and between two at the end of the replication.
const LOOK: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(20);
/// How many rounds of a twin on another host the program must write through: one that waits for the first
/// copy's end, and some in which the log names pages.
const ROUNDS: u32 = 5;
/// How much longer the program may write if memory and twin were not seen to differ, or there were not
/// so many rounds.
const GRACE: Duration = Duration::from_secs(60);
/// How long QEMU may take for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// One replication of the experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Into a file here.
    File,
    /// Onto another host.
    Remote,
    /// Into a file, with a word changed behind the log's back.
    Control,
}

impl Turn {
    const ALL: [Self; 3] = [Self::File, Self::Remote, Self::Control];

    fn is_wanted(self, args: &Replicate) -> bool {
        match self {
            Self::File => true,
            Self::Remote => args.to.is_some(),
            Self::Control => args.control,
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
pub(super) struct Experiment<'e> {
    pub(super) args: &'e Replicate,
    pub(super) setup: &'e Setup,
    pub(super) folder: &'e Path,
    pub(super) stop: &'e Stop,
}

/// What was seen while the program wrote.
pub(super) struct Written {
    pub(super) turn: Turn,
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
        let mut command = self.setup.command(&files, self.args.append.as_deref());
        let mut found = Found::default();
        talk.say(&format!("boots under {}", command.get_program().display()));
        let window = self.setup.window();
        let booted = WindowGuest::boot(&mut command, window, &self.folder.join("console"), talk);
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
        for turn in Turn::ALL.into_iter().filter(|turn| turn.is_wanted(self.args)) {
            self.once(turn, &mut guest, &mut twin, talk, &mut found)?;
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
        turn: Turn,
        guest: &mut WindowGuest,
        twin: &mut TwinFile,
        talk: &mut Talk,
        found: &mut Found,
    ) -> Result<(), Failure> {
        let none = || Trial::new(turn.name(), self.source(), &Layout::default());
        let mut place = OsString::from("file:");
        place.push(twin.path());
        if let (Turn::Remote, Some(target)) = (turn, &self.args.to) {
            place = target.to_string().into();
        }
        let words = self.words(place)?;
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
        let (memory, control) = (self.args.memory.as_path(), turn == Turn::Control);
        let (over, rounds) = (AtomicBool::new(false), AtomicU32::new(0));
        let steer = Steer { memory, window, control, over, rounds };
        let (config, enough) = (replicate.into_qemu_config(&self.qmp())?, Stop::default());
        let (replicated, written) = thread::scope(|scope| {
            let run = || replicate_qemu(&config, Some(&steer), &enough, &mut ());
            let replication = scope.spawn(run);
            let here = (turn != Turn::Remote).then(|| twin.path());
            // Long enough that there is something to be proved.
            let seen = |looks: &Looks| match here {
                Some(_) => looks.differed > 0,
                None => steer.rounds.load(Ordering::Relaxed) >= ROUNDS,
            };
            let finished = || replication.is_finished();
            let written = self.meanwhile(turn, guest, here, talk, seen, finished);
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
        twin.ours |= turn != Turn::Remote && replicated.is_ok();
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
    fn words(&self, place: OsString) -> Result<Vec<OsString>, Failure> {
        let mut words: Vec<OsString> = ["memtwin", "replicate"].map(OsString::from).into();
        words.push(self.source().into());
        words.push(place);
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
        // The guest is ours, and an emulated board takes its time.
        words.extend(["--max-pause", super::MAX_PAUSE].map(OsString::from));
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

    /// Sums both files from time to time, if the twin's is here, and stops the program in the end.
    ///
    /// Errors: the guest does not obey, or we are interrupted.
    fn meanwhile(
        &self,
        turn: Turn,
        guest: &mut WindowGuest,
        twin: Option<&Path>,
        talk: &mut Talk,
        seen: impl Fn(&Looks) -> bool,
        finished: impl Fn() -> bool,
    ) -> Result<Written, MachineError> {
        let (began, window) = (Instant::now(), self.setup.window());
        let memory = &self.args.memory;
        let mut looks = Looks::default();
        while !finished() {
            if self.stop.wait(LOOK.min(self.args.seconds.0)) {
                return Err(MachineError::Cancelled);
            }
            let look = twin.map_or(Ok(None), |twin| looks.look(memory, twin, &window));
            let look = look.map_err(|error| MachineError::Log { path: memory.clone(), error })?;
            if let Some(line) = look {
                talk.say(&line);
            }
            let patience = if seen(&looks) { Duration::ZERO } else { GRACE };
            if began.elapsed() >= self.args.seconds.0 + patience {
                break;
            }
        }
        let said = guest.stop(talk)?;
        talk.say(&format!("guest: {}", said.last().map_or("tstaeshm ended", String::as_str)));
        Ok(Written { turn, looks, said })
    }
}
