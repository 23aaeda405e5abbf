//! `memtwin lab run replicate`: 2014's second experiment, from the packages of a guest to the three
//! sums.

use super::Replicate;
use super::experiment::Experiment;
use super::found::Found;
use super::talk::Talk;
use super::twin_file::TwinFile;
use memtwin_lab::aeshmem::{Files, Setup, SetupError};
use memtwin_lab::image::{Image, ImageSpec, SUITE};
use memtwin_lab::{Arch, Cache, Flavour, Progress, cross, provision};
use memtwin_replicate::Stop;
use memtwin_report::Failure;
use memtwin_report::{ExitCode, RunRecord, exit};
use memtwin_session::MemoryFile;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Does it, and writes the report.
pub(super) fn run(args: &Replicate, command: String, stop: &Stop) -> Result<ExitCode, Failure> {
    let setup = Setup::choose(&args.choice()).map_err(refused)?;
    let mut talk = Talk::new(args.output.quiet, stop);
    if args.dry_run {
        return dry_run(args, &setup, &mut talk);
    }
    crate::output::probe(&args.output)?;
    need_qemu(setup.arch())?;
    for line in setup.lines() {
        talk.say(&line);
    }
    let folder = tempfile::Builder::new().prefix("memtwin-lab-").tempdir();
    let mut folder = folder.map_err(|error| {
        Failure::environment(format!("{}: {error}; set TMPDIR", std::env::temp_dir().display()))
    })?;
    let mut memory =
        MemoryFile::create(&args.memory, setup.memory_bytes()).map_err(Failure::environment)?;
    let image = image(args, setup.arch(), &mut talk)?;
    let twin = args.twin.clone().unwrap_or_else(|| folder.path().join("dest_aeshmem"));
    let twin = TwinFile::new(twin, args.keep);
    let experiment = Experiment { args, setup: &setup, folder: folder.path(), stop };
    let mut found = experiment.run(&image, twin, &mut talk)?;
    if args.keep {
        memory.keep();
        // QEMU is gone, and nobody listens there.
        let _ = std::fs::remove_file(experiment.qmp());
        folder.disable_cleanup(true);
        let kept = format!("kept: {} and {}", args.memory.display(), folder.path().display());
        found.closing.insert(0, kept);
    }
    let Found { cases, not_converged, closing } = found;
    let code = exit::of_cases(&cases, not_converged, stop.is_set());
    crate::output::write(&args.output, &RunRecord::new(command, cases), &closing)?;
    Ok(code)
}

fn refused(error: SetupError) -> Failure {
    match error {
        SetupError::Bytes { .. } | SetupError::NotAPower { .. } => {
            Failure::usage(format!("--size: {error}"))
        }
        _ => Failure::environment(error),
    }
}

/// Errors unless QEMU is installed.
pub(crate) fn need_qemu(arch: Arch) -> Result<(), Failure> {
    provision::need_qemu(arch).map_err(Failure::environment)
}

pub(super) fn spec<'s>(arch: Arch, programs: &'s [PathBuf]) -> ImageSpec<'s> {
    // What the console and PCI need is built in.
    let (suite, kernel) = (SUITE, Flavour::Standard);
    ImageSpec { arch, suite, kernel, modules: &[], programs, files: &[] }
}

/// The guest's kernel and initramfs.
fn image(args: &Replicate, arch: Arch, talk: &mut Talk) -> Result<Image, Failure> {
    if let Some(folder) = &args.image {
        return Ok(Image { kernel: folder.join("kernel"), initrd: folder.join("initrd") });
    }
    let programs = match &args.programs {
        Some(folder) => vec![folder.join("tstaeshm")],
        None => {
            let source = cross::source(args.source.as_deref()).map_err(Failure::environment)?;
            cross::build(&source, arch, &[cross::GUEST], talk).map_err(Failure::environment)?
        }
    };
    let place = Cache::place().map_err(Failure::environment)?;
    let cache = Cache::open(&place, talk).map_err(Failure::environment)?;
    spec(arch, &programs).build(&cache, talk).map_err(Failure::environment)
}

/// Says what would be done.
fn dry_run(args: &Replicate, setup: &Setup, talk: &mut Talk) -> Result<ExitCode, Failure> {
    let mut lines = setup.lines();
    let place = Cache::place().map_err(Failure::environment)?;
    let cache = Cache::open(&place, talk).map_err(Failure::environment)?;
    let plan = spec(setup.arch(), &[]).plan(&cache, talk).map_err(Failure::environment)?;
    drop(cache);
    lines.push(match &args.programs {
        Some(folder) => format!("take    {}", folder.join("tstaeshm").display()),
        None => format!("build   {} for {}", cross::GUEST, setup.arch()),
    });
    lines.extend(plan.lines());
    let (memory, bytes) = (args.memory.display(), setup.memory_bytes());
    lines.push(format!("create  {memory} {bytes} bytes"));
    let path = Path::new;
    let files = Files {
        memory: &args.memory,
        kernel: path("KERNEL"),
        initrd: path("INITRD"),
        qmp: path("QMP"),
    };
    let qemu = setup.command(&files, args.append.as_deref());
    let words = qemu.get_args().map(|word| quoted(&word.to_string_lossy()));
    let words: Vec<String> = words.collect();
    lines.push(format!("start   {} {}", qemu.get_program().display(), words.join(" ")));
    lines.push(format!("order   tstaeshm dirty {}", setup.window().words()));
    let mut out = std::io::stdout().lock();
    lines.iter().try_for_each(|line| writeln!(out, "{line}")).map_err(Failure::environment)?;
    Ok(ExitCode::Verified)
}

fn quoted(word: &str) -> String {
    if word.contains(' ') { format!("'{word}'") } else { word.to_owned() }
}
