//! `memtwin migrate`, and `memtwin lab run migrate`: a loaded guest moves, and RAM, disk, guest and network
//! are judged in one record.

pub(crate) use crate::cli::Migrate;

use crate::invocation::Invocation;
use crate::output;
use crate::stderr_progress::StderrProgress;
use memtwin_replicate::CancelToken;
use memtwin_report::{ExitCode, Failure, RunRecord};

/// Does it, and writes the report.
pub(crate) fn run(
    args: &Migrate,
    invocation: &Invocation,
    stop: &CancelToken,
) -> Result<ExitCode, Failure> {
    let config = args.clone().into_config()?;
    config.check()?;
    output::probe(&args.output)?;
    let mut report =
        memtwin_migrate::run(&config, stop, &mut StderrProgress::new(args.output.quiet, stop))?;
    let code = report.exit_code(stop.is_set());
    let record = report.take_record(invocation.command.clone());
    let record = RunRecord { host: memtwin_session::host_facts(), ..record };
    let ended = report.ending(code);
    let code = ended.as_ref().map_or_else(|failure| failure.code, |code| *code);
    output::write(&args.output, invocation, record, Vec::new(), code)?;
    ended
}
