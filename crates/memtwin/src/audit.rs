//! `memtwin audit`: does the dirty log of this running QEMU tell the truth about its guest?

use crate::cli::Audit;
use crate::invocation::Invocation;
use memtwin_replicate::CancelToken;
use memtwin_report::{ExitCode, Failure, Progress, exit, plain};
use memtwin_session::{
    AuditAll, AuditConfig, Audited, LibvirtDomain, MonitorAddress, audit, audit_all, preview_all,
    preview_audit,
};

/// Audits, and writes the report.
pub(crate) fn run(
    mut args: Audit,
    mut invocation: Invocation,
    stop: &CancelToken,
) -> Result<ExitCode, Failure> {
    args.seed.get_or_insert_with(memtwin_session::fresh_seed);
    invocation.resolve(args.resolved());
    crate::output::probe(&args.output)?;
    let judge = args.judge()?;
    let of_each = |monitor: MonitorAddress, pid| {
        say_taint(&monitor, &args);
        args.config(monitor, Some(pid), judge)
    };
    let config = args.target.clone().map(|monitor| args.config(monitor, args.pid, judge));
    if args.dry_run {
        let lines = match &config {
            Some(config) => preview_audit(config)?,
            None => preview_all(of_each)?,
        };
        crate::output::list(lines.iter().map(|line| plain(line)))?;
        return Ok(ExitCode::Verified);
    }
    let mut progress = Progress::new(crate::output::progress_mode(&args.output), 1);
    let AuditAll { cases, notes, code } = match &config {
        Some(config) => audit_one(config, &args, stop, &mut progress)?,
        None => audit_all(of_each, stop, &mut progress)?,
    };
    drop(progress);
    crate::output::write(&args.output, &invocation, invocation.record(cases), notes, code)?;
    Ok(code)
}

fn audit_one(
    config: &AuditConfig,
    args: &Audit,
    stop: &CancelToken,
    progress: &mut Progress,
) -> Result<AuditAll, Failure> {
    say_taint(&config.monitor, args);
    let Audited { cases, notes } = audit(config, stop, progress)?;
    let code = exit::of_cases(&cases, false, stop.is_set());
    Ok(AuditAll { cases, notes, code })
}

/// Before it is so.
fn say_taint(monitor: &MonitorAddress, args: &Audit) {
    if matches!(monitor, MonitorAddress::Libvirt(_)) && !args.output.quiet && !args.dry_run {
        crate::output::say(&format!("memtwin: {monitor}: {}", LibvirtDomain::TAINT));
    }
}
