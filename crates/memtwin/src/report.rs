//! `memtwin report`: records that were saved, as a page; or what of one is worse than in another.

use crate::cli::Report;
use crate::output;
use memtwin_html::{TitledRecord, comparison_page, report_page};
use memtwin_report::comparison::Comparison;
use memtwin_report::save::{SaveOption, probe, same_file};
use memtwin_report::{ExitCode, Failure, RunRecord, json, shown};
use std::path::PathBuf;

/// Reads the records, and writes what was asked for.
pub(crate) fn run(args: &Report) -> Result<ExitCode, Failure> {
    if let Some(path) = &args.output {
        let read = args.records.iter().chain(&args.compare).find(|read| same_file(read, path));
        if let Some(read) = read {
            return Err(Failure::usage(format!(
                "--output {}: that is the record {}, which the page would replace; give another path",
                shown(path),
                shown(read)
            )));
        }
        probe(path, SaveOption::Output).map_err(Failure::environment)?;
    }
    if args.compare.is_empty() { pages(args) } else { compare(args) }
}

/// What is shown is no verdict of this command: it is done when the page is written.
fn pages(args: &Report) -> Result<ExitCode, Failure> {
    let (titles, records) = (titles(args.records.iter()), read(args.records.iter())?);
    let titled = titles.iter().zip(&records).map(|(title, record)| TitledRecord { title, record });
    let page = report_page(&titled.collect::<Vec<_>>());
    save(args, &page)?;
    Ok(ExitCode::Verified)
}

fn compare(args: &Report) -> Result<ExitCode, Failure> {
    let before = || args.compare.iter().step_by(2);
    let after = || args.compare.iter().skip(1).step_by(2);
    let comparison = Comparison::of(&read(before())?, &read(after())?);
    // Each is written also if the other fails.
    let shown = output::compared(&comparison);
    save(args, &comparison_page(&titles(before()), &titles(after()), &comparison)).and(shown)?;
    Ok(comparison.exit_code())
}

fn read<'p>(paths: impl Iterator<Item = &'p PathBuf>) -> Result<Vec<RunRecord>, Failure> {
    paths.map(|path| json::read(path).map_err(Failure::environment)).collect()
}

fn titles<'p>(paths: impl Iterator<Item = &'p PathBuf>) -> Vec<String> {
    paths.map(|path| path.display().to_string()).collect()
}

fn save(args: &Report, page: &str) -> Result<(), Failure> {
    let saved =
        args.output.as_deref().map(|path| output::save_page(path, SaveOption::Output, page));
    saved.unwrap_or(Ok(()))
}
