//! Results to standard output, progress to standard error, the record where it is wanted.

use crate::cli;
use crate::invocation::Invocation;
use memtwin_html::{TitledRecord, report_page};
use memtwin_report::Failure;
use memtwin_report::comparison::Comparison;
use memtwin_report::json::JsonTarget;
use memtwin_report::metrics::{self, MetricsTarget};
use memtwin_report::save::{self, SaveOption};
use memtwin_report::writer::{ReportOutputs, WriteError};
use memtwin_report::{ExitCode, Format, ProgressMode, RunRecord, human, plain, shown};
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

/// Errors if the record, its page or the metrics could not be saved: asked before a run, so that its work is not lost.
pub(crate) fn probe(args: &cli::OutputArgs) -> Result<(), Failure> {
    apart(args)?;
    args.json.as_ref().map_or(Ok(()), JsonTarget::probe).map_err(Failure::environment)?;
    let page = args.report.as_deref();
    page.map_or(Ok(()), |path| save::probe(path, SaveOption::Report))
        .map_err(Failure::environment)?;
    args.metrics.as_deref().map_or(Ok(()), metrics::probe).map_err(Failure::environment)
}

/// Says a line to a person, on standard error; where that is gone, nobody listens.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{}", plain(line));
}

/// Lists what would be done, on standard output.
pub(crate) fn list(lines: impl Iterator<Item: Display>) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    for line in lines {
        writeln!(stdout, "{line}").map_err(Failure::environment)?;
    }
    Ok(())
}

/// Where the metrics of a run that ends with this code go.
pub(crate) fn metrics_target(args: &cli::OutputArgs, code: ExitCode) -> Option<MetricsTarget> {
    args.metrics.clone().map(|path| MetricsTarget { path, code })
}

/// Whether progress is shown.
pub(crate) fn progress_mode(args: &cli::OutputArgs) -> ProgressMode {
    if args.quiet { ProgressMode::Quiet } else { ProgressMode::Auto }
}

/// The record with these notes, and with how the run came about.
pub(crate) fn complete(run: &Invocation, record: RunRecord, notes: Vec<String>) -> RunRecord {
    RunRecord { provenance: Some(run.provenance()), ..record.with_notes(notes) }
}

/// Errors if two of the files are the same one: only what is written last would be there.
fn apart(args: &cli::OutputArgs) -> Result<(), Failure> {
    let json = match &args.json {
        Some(JsonTarget::File(path)) => Some(path),
        _ => None,
    };
    let files = [
        ("--json", json),
        ("--report", args.report.as_ref()),
        ("--metrics", args.metrics.as_ref()),
    ];
    let files = files.map(|(option, path)| path.map(|path| (option, path)));
    let files: Vec<_> = files.into_iter().flatten().collect();
    for (at, (option, path)) in files.iter().enumerate() {
        let same = files.iter().take(at).find(|(_, earlier)| save::same_file(earlier, path));
        if let Some((earlier, _)) = same {
            return Err(Failure::usage(format!(
                "{earlier} and {option} both name {}; give one of them another path",
                shown(path)
            )));
        }
    }
    Ok(())
}

/// Writes the record's page, if it is wanted.
pub(crate) fn report(args: &cli::OutputArgs, record: &RunRecord) -> Result<(), Failure> {
    let Some(path) = &args.report else { return Ok(()) };
    let title = &record.command;
    save_page(path, SaveOption::Report, &report_page(&[TitledRecord { title, record }]))
}

/// Writes a page: the whole of it, or the file is what it was.
pub(crate) fn save_page(path: &Path, option: SaveOption, page: &str) -> Result<(), Failure> {
    save::save(path, option, |to| to.write_all(page.as_bytes())).map_err(Failure::environment)
}

/// Writes what became of each case from one record to another.
pub(crate) fn compared(comparison: &Comparison) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let colour = human::wants_colour(&stdout);
    match human::comparison::write(comparison, &mut stdout, colour).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::environment(error)),
        _ => Ok(()),
    }
}

/// Writes the results of a run that ends with this code, with these notes in the record. Where a person reads,
/// its notes come first and the summary stays last.
pub(crate) fn write(
    args: &cli::OutputArgs,
    run: &Invocation,
    record: RunRecord,
    notes: Vec<String>,
    code: ExitCode,
) -> Result<(), Failure> {
    let record = &complete(run, record, notes);
    let format: Format = args.format.parse().map_err(Failure::usage)?;
    let mut stdout = io::stdout().lock();
    let output = ReportOutputs {
        format,
        colour: human::wants_colour(&stdout),
        json: args.json.clone(),
        metrics: metrics_target(args, code),
    };
    let for_a_person = format == Format::Human && args.json != Some(JsonTarget::Stdout);
    let lines = if for_a_person { &record.notes[..] } else { &[] };
    let written = lines
        .iter()
        .try_for_each(|line| writeln!(stdout, "{}", plain(line)))
        .map_err(WriteError::Results)
        .and_then(|()| output.write(record, &mut stdout));
    // Each is written also if another fails.
    let page = report(args, record);
    match written {
        // A reader that has seen enough (`| head`) is no failure of the run.
        Err(WriteError::Results(error)) if error.kind() == ErrorKind::BrokenPipe => page,
        other => other.map_err(Failure::environment).and(page),
    }
}
