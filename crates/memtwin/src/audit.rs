//! `memtwin audit`: does the dirty log of this running QEMU tell the truth about its guest?

mod ledger;
mod rounds;
mod stop;
mod untested;

use crate::cli::Audit;
use crate::qemu_guest::Attached;
use ledger::Ledger;
use memtwin_replicate::Stop;
use memtwin_report::Failure;
use memtwin_report::{Case, ExitCode, Progress, RunRecord, exit};
use std::io::Write;
use std::time::{Duration, Instant};
use stop::{NoStop, Session};

/// How long an audit runs, unless told.
const DEFAULT_TIME: Duration = Duration::from_secs(5);

/// What an audit came to.
pub(crate) struct Audited {
    pub(crate) cases: Vec<Case>,
    pub(crate) closing: Vec<String>,
}

/// Audits, and writes the report.
pub(crate) fn run(args: &Audit, command: String, stop: &Stop) -> Result<ExitCode, Failure> {
    crate::output::probe(&args.output)?;
    if args.dry_run {
        let mut attached = Attached::new(&args.socket, args.pid)?;
        attached.qmp.try_descriptors().map_err(Failure::environment)?;
        return dry_run(args, &attached);
    }
    let Audited { cases, closing } = audit(args, stop)?;
    let code = exit::of_cases(&cases, false, stop.is_set());
    crate::output::write(&args.output, &RunRecord::new(command, cases), &closing)?;
    Ok(code)
}

/// Audits.
pub(crate) fn audit(args: &Audit, stop: &Stop) -> Result<Audited, Failure> {
    let mut attached = Attached::new(&args.socket, args.pid)?;
    crate::room::for_copy("the audit's twin", &attached.process(), &attached.blocks, &args.socket)
        .map_err(Failure::environment)?;
    let source = format!("qemu:{}", args.socket.display());
    let title = attached.title();
    let mut progress = Progress::new(crate::output::progress_mode(&args.output), 1);
    progress.case("audit");
    let mut ledger = Ledger::new(source);
    let began = Instant::now();
    let time = match (args.seconds, args.rounds) {
        (Some(time), _) => Some(time.0),
        (None, Some(_)) => None,
        (None, None) => Some(DEFAULT_TIME),
    };
    loop {
        let left = time.map(|time| time.saturating_sub(began.elapsed()));
        let rounds = |all: u32| all.saturating_sub(ledger.deltas());
        let session = Session {
            interval: Duration::from_secs_f64(1.0 / args.rounds_per_second),
            rounds: match (args.pause_every, args.rounds.map(rounds)) {
                (Some(every), Some(left)) => Some(every.min(left)),
                (every, left) => every.or(left),
            },
            time: left,
            max_pause: args.max_pause.0,
            seed: args.seed.unwrap_or_else(crate::seed::fresh),
            stop,
        };
        match session.run(&mut attached, &mut ledger, &mut progress) {
            Ok(()) => {}
            // Nothing was begun, and it was us who broke off.
            Err(NoStop::NotBegun(_)) if ledger.is_empty() && stop.is_set() => {
                return Err(Failure {
                    code: ExitCode::Interrupted,
                    message: "interrupted".to_owned(),
                });
            }
            // It was begun, and then there was no QEMU any more.
            Err(NoStop::NotBegun(reason)) if ledger.is_empty() && !attached.lives() => {
                ledger.trouble(reason);
                break;
            }
            // Nothing was begun, so there is nothing to report.
            Err(NoStop::NotBegun(reason)) if ledger.is_empty() => {
                return Err(Failure::environment(reason));
            }
            Err(NoStop::NotBegun(reason) | NoStop::Broken(reason)) => {
                ledger.trouble(reason);
                break;
            }
        }
        let time_over = time.is_some_and(|time| began.elapsed() >= time);
        let rounds_over = args.rounds.is_some_and(|all| ledger.deltas() >= all);
        if args.pause_every.is_none() || time_over || rounds_over || stop.is_set() {
            break;
        }
    }
    drop(progress);

    // A connection that was left to the guardian is not ours any more.
    let why_idle = match ledger.has_trouble() {
        true => None,
        false => memtwin_qemu::status(&mut attached.qmp).ok().and_then(|now| now.why_idle()),
    };
    let (cases, notes) = ledger.close(&attached.blocks, why_idle.as_deref());
    let mut closing = vec![title];
    closing.extend(notes);
    if stop.is_set() {
        closing.push("interrupted".to_owned());
    }
    Ok(Audited { cases, closing })
}

/// Says what would be audited, and what would be changed meanwhile.
fn dry_run(args: &Audit, attached: &Attached) -> Result<ExitCode, Failure> {
    crate::room::for_copy("the audit's twin", &attached.process(), &attached.blocks, &args.socket)
        .map_err(Failure::environment)?;
    let mut out = std::io::stdout().lock();
    let mut lines = vec![attached.title()];
    for block in &attached.blocks {
        let windows: Vec<String> = block
            .windows
            .iter()
            .map(|window| format!("{} at offset {:#x}", window.gpa, window.offset))
            .collect();
        let seen = match windows.is_empty() {
            _ if !block.is_named => {
                "skipped: it has no name, so QEMU does not migrate it".to_owned()
            }
            true => "not mapped".to_owned(),
            false => windows.join(", "),
        };
        lines.push(format!("audit/{}: {} bytes, {seen}", block.name, block.used));
    }
    lines.push(
        "while it runs: migration capabilities return-path and switchover-ack on, others off \
         (postcopy-ram on, if the guest hints at free pages); \
         parameters max-bandwidth, downtime-limit, avail-switchover-bandwidth, mode and tls-creds; all \
         put back at the end; the guest is paused at the end while its memory is read, for --max-pause at most"
            .to_owned(),
    );
    for line in lines {
        writeln!(out, "{}", memtwin_report::plain(&line)).map_err(Failure::environment)?;
    }
    Ok(ExitCode::Verified)
}
