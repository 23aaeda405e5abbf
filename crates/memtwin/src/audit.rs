//! `memtwin audit`: does the dirty log of this running QEMU tell the truth about its guest?

use crate::cli::Audit;
use memtwin_replicate::CancelToken;
use memtwin_report::{ExitCode, Failure, Progress, RunRecord, exit, plain};
use memtwin_session::{Audited, audit, preview_audit};

/// Audits, and writes the report.
pub(crate) fn run(args: Audit, command: String, stop: &CancelToken) -> Result<ExitCode, Failure> {
    crate::output::probe(&args.output)?;
    let (output, dry_run) = (args.output.clone(), args.dry_run);
    let config = args.into_config();
    if dry_run {
        crate::output::list(preview_audit(&config)?.iter().map(|line| plain(line)))?;
        return Ok(ExitCode::Verified);
    }
    let mut progress = Progress::new(crate::output::progress_mode(&output), 1);
    let Audited { cases, notes } = audit(&config, stop, &mut progress)?;
    drop(progress);
    let code = exit::of_cases(&cases, false, stop.is_set());
    crate::output::write(&output, &RunRecord::new(command, cases), &notes)?;
    Ok(code)
}
