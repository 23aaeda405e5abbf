//! `memtwin check`: does this host's dirty log ever miss a write?

use crate::cli::Check;
use crate::invocation::Invocation;
use crate::pieces::CheckPieces;
use memtwin_replicate::CancelToken;
use memtwin_report::{ExitCode, Failure, Progress, exit};
use memtwin_session::{CheckPlan, Checked};

/// Runs the cases and writes the report.
pub(crate) fn run(
    mut args: Check,
    mut invocation: Invocation,
    stop: &CancelToken,
) -> Result<ExitCode, Failure> {
    args.seed.get_or_insert_with(memtwin_session::fresh_seed);
    crate::sizes::check(args.size.map(|size| size.0))?;
    crate::output::probe(&args.output)?;
    let (output, dry_run, wants_pieces) = (args.output.clone(), args.dry_run, args.pieces);
    let config = args.into_config();
    invocation.resolve(config.resolved());
    let plan = CheckPlan::new(&config)?;
    if dry_run {
        crate::output::list(plan.names())?;
        return Ok(ExitCode::Verified);
    }
    let mut progress = Progress::new(crate::output::progress_mode(&output), plan.names().len());
    let mut pieces = CheckPieces::new(wants_pieces, &invocation);
    let Checked { cases, notes } = plan.run(stop, &mut (&mut progress, &mut pieces))?;
    drop(progress);
    plan.skipped().iter().for_each(|case| pieces.case(case));
    if !stop.is_set() {
        pieces.end();
    }
    let code = exit::of_cases(&cases, false, stop.is_set());
    crate::output::write(&output, &invocation, invocation.record(cases), notes, code)?;
    Ok(code)
}
