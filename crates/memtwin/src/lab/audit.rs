//! `memtwin lab run audit`: a Linux guest whose devices write its RAM is audited, here under KVM or
//! TCG, or on a board under KVM/arm64.

use super::Accel;
use super::elsewhere::Elsewhere;
use super::found::Found;
use super::job::Job;
use super::replicate::{need_qemu, spec};
use super::talk::Talk;
use crate::cli::{Cli, Command, Output};
use crate::values::Time;
use clap::{Args, Parser};
use memtwin_lab::aeshmem::{self, Setup};
use memtwin_lab::image::{Image, ImageSpec};
use memtwin_lab::traffic::{Counts, MODULES, TrafficGuest, TrafficSpec};
use memtwin_lab::{Arch, Cache, MachineError, Progress};
use memtwin_pages::Layout;
use memtwin_qemu::{Status, migration};
use memtwin_qmp::Qmp;
use memtwin_replicate::Stop;
use memtwin_report::Failure;
use memtwin_report::{Case, ExitCode, RunRecord, Trial, exit};
use memtwin_session::Audited;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// How long QEMU may take for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(50);
/// How often it is audited, until each writer was seen to write meanwhile.
const ATTEMPTS: u32 = 3;
/// The case of the traffic itself.
const TRAFFIC: &str = "audit/traffic";

/// `memtwin lab run audit`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Audit {
    /// How long the audit goes on
    #[arg(long, default_value = "20s", value_name = "TIME")]
    pub(crate) seconds: Time,
    /// Where: local; emulated, a board that is booted for it; emulated:NAME, a board of `memtwin lab
    /// up`; ssh://USER@HOST:PORT. On another machine it runs under KVM, first with KVM's bitmap and
    /// then with its dirty ring (docs/lab.md)
    #[arg(long, default_value = "local", value_name = "HOST")]
    pub(crate) hosts: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) elsewhere: Elsewhere,
    /// The guest's architecture
    #[arg(long, default_value = "aarch64", value_name = "aarch64|x86_64")]
    pub(crate) arch: Arch,
    /// What runs its code [default: kvm for an aarch64 guest on an aarch64 host with /dev/kvm, else
    /// tcg]
    #[arg(long, value_enum)]
    pub(crate) accel: Option<Accel>,
    /// Let KVM log by a ring of N entries for each vCPU, and not by a bitmap
    #[arg(long, value_name = "N", value_parser = crate::cli::ring_entries)]
    pub(crate) dirty_ring: Option<u32>,
    /// A directory with the guest's `kernel` and `initrd`, made before; not for people
    #[arg(long, value_name = "DIR", hide = true)]
    pub(crate) image: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) output: Output,
}

/// Does it, and writes the report.
pub(super) fn run(args: &Audit, command: String, stop: &Stop) -> Result<ExitCode, Failure> {
    if args.hosts != "local" {
        let words = |guest: &str, ring: Option<u32>, _: Option<&str>| {
            let seconds = format!("{}us", args.seconds.0.as_micros());
            let words = ["lab", "run", "audit", "--accel", "kvm", "--image", guest, "--seconds"];
            let words = words.map(str::to_owned).into_iter().chain([seconds]);
            let ring = ring.map(|entries| ["--dirty-ring".to_owned(), entries.to_string()]);
            words.chain(ring.into_iter().flatten()).collect()
        };
        let job = Job {
            case: "audit",
            hosts: &args.hosts,
            args: &args.elsewhere,
            modules: &MODULES,
            ring: args.dirty_ring,
            outside: None,
            only_here: &[
                ("--arch x86_64", args.arch != Arch::Aarch64),
                ("--accel tcg", args.accel == Some(Accel::Tcg)),
            ],
            words: &words,
        };
        return job.run(command, &args.output, stop);
    }
    here(args, command, stop)
}

/// On this machine.
fn here(args: &Audit, command: String, stop: &Stop) -> Result<ExitCode, Failure> {
    crate::output::probe(&args.output)?;
    need_qemu(args.arch)?;
    let mut talk = Talk::new(args.output.quiet, stop);
    let accel = accel(args)?;
    let folder = tempfile::Builder::new().prefix("memtwin-lab-").tempdir();
    let folder = folder.map_err(|error| {
        Failure::environment(format!("{}: {error}; set TMPDIR", std::env::temp_dir().display()))
    })?;
    let Image { kernel, initrd } = image(args, &mut talk)?;
    let spec = TrafficSpec {
        arch: args.arch,
        accel,
        ring: args.dirty_ring,
        kernel: &kernel,
        initrd: &initrd,
        folder: folder.path(),
    };
    talk.say(&format!("boots under {}, {}", spec.command().get_program().display(), accel.name()));
    let mut found = Found::default();
    match spec.boot(&mut talk) {
        Ok((mut guest, about)) => {
            talk.say(&format!("guest ready: {about}"));
            audited(args, &spec, &mut guest, stop, &mut talk, &mut found)?;
        }
        Err(error @ (MachineError::Start { .. } | MachineError::Log { .. })) => {
            return Err(Failure::environment(error));
        }
        Err(error) => found.guest_failed(traffic(), &[], &error),
    }
    let code = exit::of_cases(&found.cases, false, stop.is_set());
    crate::output::write(&args.output, &RunRecord::new(command, found.cases), &found.closing)?;
    Ok(code)
}

fn traffic() -> Trial {
    Trial::new(TRAFFIC, "guest", &Layout::default())
}

/// What runs the guest's code: chosen, or refused, as for the replication.
fn accel(args: &Audit) -> Result<aeshmem::Accel, Failure> {
    let accel = args.accel.map(|accel| match accel {
        Accel::Kvm => aeshmem::Accel::Kvm,
        Accel::Tcg => aeshmem::Accel::Tcg,
    });
    let (arch, ring, bytes) = (args.arch, args.dirty_ring, 1 << 20);
    let choice = aeshmem::Choice { arch, accel, layout: None, cpu: None, bytes, ring };
    Setup::choose(&choice).map(|setup| setup.accel()).map_err(Failure::environment)
}

fn image(args: &Audit, talk: &mut Talk) -> Result<Image, Failure> {
    if let Some(folder) = &args.image {
        return Ok(Image { kernel: folder.join("kernel"), initrd: folder.join("initrd") });
    }
    let place = Cache::place().map_err(Failure::environment)?;
    let cache = Cache::open(&place, talk).map_err(Failure::environment)?;
    let spec = ImageSpec { modules: &MODULES, ..spec(args.arch, &[]) };
    spec.build(&cache, talk).map_err(Failure::environment)
}

/// Audits it, and sees to it that each writer wrote meanwhile.
fn audited(
    args: &Audit,
    spec: &TrafficSpec<'_>,
    guest: &mut TrafficGuest,
    stop: &Stop,
    talk: &mut Talk,
    found: &mut Found,
) -> Result<(), Failure> {
    let [monitor, watched] = spec.monitors();
    let audit = words(&monitor, args.seconds.0)?.into_config();
    let enough = Stop::default();
    talk.say(&format!("host: memtwin audit {}", monitor.display()));
    let mut attempts = ATTEMPTS;
    let (Audited { cases, notes }, seen) = loop {
        attempts -= 1;
        let (audited, seen) = thread::scope(|scope| {
            let audit = scope.spawn(|| memtwin_session::audit(&audit, &enough, &mut ()));
            let mut look = || {
                let mut qmp =
                    Qmp::connect(&watched, PATIENCE).map_err(|error| error.to_string())?;
                let mut goes_on = || migration(&mut qmp).is_ok_and(|m| m.status == Status::Active);
                while !goes_on() {
                    if audit.is_finished() || stop.is_set() {
                        return Err("the audit ended before it was seen to go on".to_owned());
                    }
                    thread::sleep(TICK);
                }
                watch(guest, talk, &mut goes_on)
            };
            let seen = look();
            while !audit.is_finished() {
                if stop.is_set() {
                    enough.set();
                }
                thread::sleep(TICK);
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
        talk.say("a writer was not seen to write in the time: once more");
    };
    found.cases.extend(cases);
    found.closing.extend(notes);
    match seen {
        Ok((before, after)) => {
            let risen = before.iter().zip(&after).map(|((name, before), (_, after))| {
                format!("while it was audited, {name} went from {before} to {after}")
            });
            found.closing.extend(risen);
        }
        Err(why) => found.cases.push(traffic().inconclusive(why, Vec::new())),
    }
    Ok(())
}

/// Looks until each writer has written since it was first asked. Both looks lie within the audit, so
/// what was written between was logged or lost.
fn watch(
    guest: &mut TrafficGuest,
    talk: &mut Talk,
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<(Counts, Counts), String> {
    let before = guest.counts(talk).map_err(|error| error.to_string())?;
    loop {
        let after = guest.counts(talk).map_err(|error| error.to_string())?;
        if !goes_on() {
            let silent = before.iter().zip(&after).find(|(before, after)| after.1 <= before.1);
            let name = silent.map_or("a writer", |(before, _)| before.0);
            return Err(format!("{name} was not seen to write while the audit went on"));
        }
        if before.iter().zip(&after).all(|(before, after)| after.1 > before.1) {
            let shown: Vec<String> = after.iter().map(|(name, n)| format!("{name} {n}")).collect();
            talk.say(&format!("guest: {}", shown.join(", ")));
            return Ok((before, after));
        }
    }
}

/// The command that audits: the one that a person would type.
fn words(monitor: &Path, time: Duration) -> Result<crate::cli::Audit, Failure> {
    let words: [OsString; 8] = [
        "memtwin".into(),
        "audit".into(),
        monitor.into(),
        "--quiet".into(),
        "--max-pause".into(),
        super::MAX_PAUSE.into(),
        "--seconds".into(),
        format!("{}us", time.as_micros()).into(),
    ];
    match Cli::try_parse_from(words).map(|cli| cli.command) {
        Ok(Command::Audit(args)) => Ok(args),
        Ok(_) => Err(Failure::usage("not the command that was meant")),
        Err(error) => Err(Failure::usage(error)),
    }
}
