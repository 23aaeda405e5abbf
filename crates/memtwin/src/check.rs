//! `memtwin check`: does this host's dirty log ever miss a write?

mod case;
mod pieces;
mod select;

pub(crate) use case::end_guest;

use crate::cli::{Check, CheckSource};
use crate::memory_file::MemoryFile;
use crate::values::{distinct, distinct_by};
use case::Run;
use memtwin_kvm::{Mode, Offered};
use memtwin_replicate::Stop;
use memtwin_report::Failure;
use memtwin_report::{Case, ExitCode, Progress, RunRecord, exit};
use memtwin_vmm::{Backing, Granule, StartError, Translation};
use pieces::Pieces;
use select::{CaseSpec, Log, Wanted};
use std::io::Write;

/// The modes that hypervisors use unless told otherwise.
const DEFAULT_MODES: [Mode; 2] = [Mode::Get, Mode::Clear];

/// Runs the cases and writes the report.
pub(crate) fn run(args: &Check, command: String, stop: &Stop) -> Result<ExitCode, Failure> {
    crate::sizes::check(args.size.map(|size| size.0))?;
    crate::output::probe(&args.output)?;
    let Selection { skipped, cases, notes } = Selection::of(args)?;
    if args.dry_run {
        return dry_run(&cases);
    }

    if let Some(size) = args.size {
        crate::room::for_window(args.memory.as_deref(), size.0, windows(args, &cases))
            .map_err(Failure::environment)?;
    }
    let seed = args.seed.unwrap_or_else(crate::seed::fresh);
    let mut memory = None;
    if let Some(path) = &args.memory {
        let bytes = args.size.map_or(1 << 20, |size| size.0);
        memory = Some(MemoryFile::create(path, bytes).map_err(Failure::environment)?);
    }
    let file = memory.as_ref().map(MemoryFile::file).transpose().map_err(Failure::environment)?;
    let run = Run {
        size: args.size.map(|size| size.0),
        rounds: args.rounds,
        time: args.seconds.map(|time| time.0),
        interval: args.interval.0,
        seed,
        ring_entries: args.ring_entries,
        memory: file,
        ring_broken: ring_broken(&cases, args.ring_entries),
        stop,
    };
    let mut progress = Progress::new(crate::output::progress_mode(&args.output), cases.len());
    let mut done: Vec<Case> = Vec::new();
    let mut said = Pieces::new(args.pieces, &command);
    for spec in cases {
        if stop.is_set() {
            break;
        }
        progress.case(&spec.to_string());
        let Some(case) = run.case(spec, &mut progress) else { break };
        progress.finish_case(&case);
        said.case(&case);
        done.push(case);
    }
    drop(progress);
    skipped.iter().for_each(|case| said.case(case));
    if !stop.is_set() {
        said.end();
    }
    done.extend(skipped);

    let code = exit::of_cases(&done, false, stop.is_set());
    let record = RunRecord::new(command, done);
    let closing = closing(&record, &notes, seed, stop);
    crate::output::write(&args.output, &record, &closing)?;
    Ok(code)
}

/// The names of the cases that a host with KVM would run.
pub(crate) fn case_names(args: &Check) -> Vec<String> {
    let wanted = wanted(args);
    let names = |log| wanted.cases(log).into_iter().map(|case| case.to_string());
    if args.source == Some(CheckSource::Process) {
        return names(Log::Process).collect();
    }
    modes(args).into_iter().flat_map(|mode| names(Log::Kvm(mode))).collect()
}

fn wanted(args: &Check) -> Wanted {
    Wanted {
        backings: distinct(&args.backing),
        vcpus: distinct(&args.vcpus),
        stressors: distinct(&args.stressor),
        translations: translations(args),
        all: args.all,
    }
}

fn modes(args: &Check) -> Vec<Mode> {
    match (args.mode.is_empty(), args.all) {
        (false, _) => distinct_by(&args.mode, |mode| mode.name()),
        (true, true) => Mode::ALL.to_vec(),
        (true, false) => DEFAULT_MODES.to_vec(),
    }
}

/// What there is to run, and what can't be.
struct Selection {
    cases: Vec<CaseSpec>,
    skipped: Vec<Case>,
    notes: Vec<String>,
}

impl Selection {
    fn of(args: &Check) -> Result<Self, Failure> {
        let wanted = wanted(args);
        if args.source == Some(CheckSource::Process) {
            memtwin_process::probe().map_err(Failure::environment)?;
            let cases = wanted.cases(Log::Process);
            return Ok(Self { cases, skipped: Vec::new(), notes: Vec::new() });
        }
        let modes = modes(args);
        let of_modes = |modes: &[Mode]| -> Vec<CaseSpec> {
            modes.iter().flat_map(|&mode| wanted.cases(Log::Kvm(mode))).collect()
        };
        match memtwin_vmm::probe() {
            Ok(offered) => {
                let notes = not_run(&modes, offered);
                Ok(Self { cases: of_modes(&modes), skipped: Vec::new(), notes })
            }
            // Nobody asked for KVM by name, so what there is instead is run, and that is said.
            Err(error @ StartError::NoKvm { .. })
                if args.mode.is_empty() && args.source.is_none() && !of_guest(args) =>
            {
                let skip = |spec: CaseSpec| Case::skipped(spec.to_string(), "kvm", &error);
                let mut skipped: Vec<Case> = of_modes(&modes).into_iter().map(skip).collect();
                let mut cases = wanted.cases(Log::Process);
                if let Err(error) = memtwin_process::probe() {
                    let skip = |spec: CaseSpec| Case::skipped(spec.to_string(), "process", &error);
                    skipped.extend(cases.drain(..).map(skip));
                }
                // The report itself says, in its last line, that KVM was not tested.
                Ok(Self { cases, skipped, notes: Vec::new() })
            }
            Err(error) => Err(Failure::environment(error)),
        }
    }
}

/// Whether something is asked for that only the embedded guest has.
fn of_guest(args: &Check) -> bool {
    !args.granule.is_empty() || !args.va_bits.is_empty()
}

/// The product of the granules and address sizes that are asked for; none if neither is. What does
/// not exist is skipped with the reason.
fn translations(args: &Check) -> Vec<Translation> {
    if !of_guest(args) {
        return Vec::new();
    }
    let mut granules = distinct(&args.granule);
    let mut sizes = distinct(&args.va_bits);
    if granules.is_empty() {
        granules.push(Granule::K4);
    }
    if sizes.is_empty() {
        sizes.push(48);
    }
    let with = |granule| sizes.iter().map(move |&va_bits| Translation { granule, va_bits });
    granules.into_iter().flat_map(with).collect()
}

/// Which modes the host offers that are not run.
fn not_run(modes: &[Mode], offered: Offered) -> Vec<String> {
    let left: Vec<_> = Mode::ALL
        .into_iter()
        .filter(|&mode| {
            !modes.iter().any(|run| run.name() == mode.name()) && offered.has(mode).is_ok()
        })
        .map(|mode| mode.name())
        .collect();
    match left.as_slice() {
        [] => Vec::new(),
        left => vec![format!("offered by this host and not run: --mode {}", left.join(","))],
    }
}

/// Tries the ring before it is judged, if it is to be judged.
fn ring_broken(cases: &[CaseSpec], entries: u32) -> Option<String> {
    if !cases.iter().any(|case| case.log.storage().can_overflow()) {
        return None;
    }
    match memtwin_vmm::ring_holds(entries) {
        // A guest that can't be made says so in each case.
        Err(_) | Ok(Ok(())) => None,
        Ok(Err(reason)) => Some(format!(
            "this host's dirty ring does not hold, so no twin fed by it can earn a pass: {reason}"
        )),
    }
}

/// How many windows there are in memory at a time: cases run one after another, each with a twin.
fn windows(args: &Check, cases: &[CaseSpec]) -> u64 {
    let file = args.memory.as_deref();
    // The file is there all the time; huge pages have a pool of their own.
    let own = |case: &CaseSpec| match case.backing {
        Backing::Shm => file.is_none(),
        Backing::Anon | Backing::Thp => true,
        Backing::Hugetlb => false,
    };
    1 + u64::from(file.is_some_and(memtwin_room::is_memory)) + u64::from(cases.iter().any(own))
}

fn dry_run(cases: &[CaseSpec]) -> Result<ExitCode, Failure> {
    let mut out = std::io::stdout().lock();
    for case in cases {
        writeln!(out, "{case}").map_err(Failure::environment)?;
    }
    Ok(ExitCode::Verified)
}

/// What stands below the table; the last line is the one that must not be overlooked.
fn closing(record: &RunRecord, notes: &[String], seed: u64, stop: &Stop) -> Vec<String> {
    let mut lines = Vec::new();
    if record.cases.iter().any(|case| !case.passed() && !case.rounds().is_empty()) {
        lines.push(format!("to repeat: --seed {seed}"));
    }
    if stop.is_set() {
        lines.push("interrupted: the cases after the last one above did not run".to_owned());
    }
    lines.extend(notes.iter().cloned());
    lines
}
