//! A migration from its hosts' set-up to its verdicts.

use crate::config::MigrationConfig;
use crate::experiment::MigrationExperiment;
use crate::hosts;
use crate::hosts::setup::Leftovers;
use crate::report::MigrationReport;
use crate::sweep;
use memtwin_lab::Progress;
use memtwin_replicate::CancelToken;
use memtwin_report::{ExitCode, Failure};

/// Sets the hosts up, moves the guest, judges what arrived, and takes everything away again. `progress`
/// hears what goes on.
///
/// Errors: it never came to a migration, or was interrupted before it did; what could not be undone on the
/// hosts is said there too.
pub fn run(
    config: &MigrationConfig,
    stop: &CancelToken,
    progress: &mut (dyn Progress + Send),
) -> Result<MigrationReport, Failure> {
    let leftovers = Leftovers::default();
    let done = on_hosts(config, stop, &leftovers, progress);
    let leftovers = leftovers.lines();
    let left = leftovers.join("\n");
    match done {
        Err(_) if stop.is_set() && left.is_empty() => {
            let message = "interrupted; nothing is left behind".to_owned();
            Err(Failure { code: ExitCode::Interrupted, message })
        }
        Err(_) if stop.is_set() => {
            Err(Failure { code: ExitCode::Interrupted, message: format!("interrupted\n{left}") })
        }
        Err(Failure { code, message }) if !left.is_empty() => {
            Err(Failure { code, message: format!("{message}\n{left}") })
        }
        done => done.map(|report| MigrationReport { leftovers, ..report }),
    }
}

/// Puts everything in its place, and takes it away again when it is over; what came of it.
fn on_hosts(
    config: &MigrationConfig,
    stop: &CancelToken,
    leftovers: &Leftovers,
    progress: &mut (dyn Progress + Send),
) -> Result<MigrationReport, Failure> {
    let mut environment = hosts::set_up(config, leftovers, progress)?;
    let report = match &config.sweep {
        Some(swept) => sweep::run(config, swept, &mut environment, stop, progress),
        None => MigrationExperiment { config, environment: &mut environment, stop }.run(progress),
    };
    match environment.lost() {
        Some(message) => Err(Failure { code: ExitCode::Inconclusive, message }),
        None => report,
    }
}
