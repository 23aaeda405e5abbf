//! The run as metrics, in a file of Prometheus's text format, for node_exporter's textfile collector.
//!
//! The collector joins all files of its directory, and refuses them all if two have the same series: so the
//! file's own name is a label of every series (`run`).

mod families;
mod family;
mod previous;

use crate::ExitCode;
use crate::record::RunRecord;
use families::{RunOutcome, families_of};
use memtwin_safe_path::{Place, SafePathError};
use previous::Previous;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// As any new file has them; the umask takes its part off.
const MODE: u32 = 0o666;

/// Where the metrics of a run go, and how the run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsTarget {
    /// The file.
    pub path: PathBuf,
    /// The exit code of the run.
    pub code: ExitCode,
}

/// Why metrics could not be written.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The system refuses.
    #[error("can't write {}: {error}; give --metrics another path", path.display())]
    Io {
        /// The path that was asked for.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// Somebody else may have put there what is there.
    #[error("--metrics: {0}")]
    Refused(SafePathError),
    /// What is there was not written by `--metrics`.
    #[error(
        "--metrics {}: it begins with '{begins}', expected metrics of Memtwin's, which are replaced; remove it, or give another path",
        path.display()
    )]
    Foreign {
        /// The path that was asked for.
        path: PathBuf,
        /// Its first line, cut short.
        begins: String,
    },
}

impl MetricsError {
    fn at(path: &Path) -> impl Fn(SafePathError) -> Self {
        move |error| match error.into_errno() {
            Ok(error) => Self::Io { path: path.to_owned(), error },
            Err(refused) => Self::Refused(refused),
        }
    }
}

/// Whether metrics could be written there as things stand: asked before a run. Leaves nothing behind.
///
/// Errors: they could not; or what is there are no metrics of Memtwin's.
pub fn probe(path: &Path) -> Result<(), MetricsError> {
    let failed = MetricsError::at(path);
    let place = Place::find(path).map_err(&failed)?;
    match place.is_stream().map_err(&failed)? {
        true => place.open_output(MODE).map(drop).map_err(&failed),
        false => {
            Previous::read(&place, path)?;
            place.draft(MODE).map(drop).map_err(&failed)
        }
    }
}

/// Writes the metrics of a run that has a record.
///
/// The time of the last success is now if the run verified something and found nothing, and else what the
/// file said before.
///
/// Errors: as for [`probe`]; then the file is what it was.
pub fn save(record: &RunRecord, target: &MetricsTarget) -> Result<(), MetricsError> {
    write(Some(record), target, |_| true)
}

/// Writes that a run ended without a record, unless the run that began at `began` has written its metrics.
///
/// Errors: as for [`probe`]; then the file is what it was.
pub fn save_failure(target: &MetricsTarget, began: SystemTime) -> Result<(), MetricsError> {
    let this_run = seconds(began)..=seconds(SystemTime::now());
    write(None, target, |previous| !previous.last_run.is_some_and(|last| this_run.contains(&last)))
}

fn write(
    record: Option<&RunRecord>,
    target: &MetricsTarget,
    wanted: impl Fn(&Previous) -> bool,
) -> Result<(), MetricsError> {
    let MetricsTarget { path, code } = target;
    let failed = MetricsError::at(path);
    let place = Place::find(path).map_err(&failed)?;
    let is_stream = place.is_stream().map_err(&failed)?;
    let previous = if is_stream { Previous::default() } else { Previous::read(&place, path)? };
    if !wanted(&previous) {
        return Ok(());
    }
    let now = seconds(SystemTime::now());
    let succeeded = record.is_some() && *code == ExitCode::Verified;
    let outcome = RunOutcome {
        run: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        code: *code,
        now,
        // A clock that went wrong must not hide failures for years.
        last_success: if succeeded {
            Some(now)
        } else {
            previous.last_success.map(|at| at.min(now))
        },
    };
    let text: String = families_of(record, &outcome).iter().map(ToString::to_string).collect();
    let pour = |file: &mut File| {
        file.write_all(text.as_bytes())
            .map_err(|error| MetricsError::Io { path: path.clone(), error })
    };
    if is_stream {
        return pour(&mut place.open_output(MODE).map_err(&failed)?);
    }
    let mut draft = place.draft(MODE).map_err(&failed)?;
    pour(draft.file())?;
    draft.commit().map(drop).map_err(&failed)
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
