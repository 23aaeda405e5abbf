//! Why a guest does not do what it should.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a guest does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// Its console can't be kept.
    #[error("{}: {error}", path.display())]
    Log {
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Its console has ended.
    #[error("{side}: the guest's console ended before {what}{}", indented(last))]
    Ended {
        /// The side.
        side: String,
        /// What was waited for.
        what: String,
        /// The last lines.
        last: Vec<String>,
    },
    /// Its kernel gave up.
    #[error("{side}: the guest's kernel panicked before {what}{}", indented(last))]
    Panicked {
        /// The side.
        side: String,
        /// What was waited for.
        what: String,
        /// The last lines.
        last: Vec<String>,
    },
    /// It took too long.
    #[error("{side}: no {what} within {} s{}", limit.as_secs(), indented(last))]
    TimedOut {
        /// The side.
        side: String,
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
        /// The last lines.
        last: Vec<String>,
    },
    /// An order was not carried out well.
    #[error("{side}: '{order}' returned {rc}{}", indented(output))]
    Refused {
        /// The side.
        side: String,
        /// The order.
        order: String,
        /// What it returned.
        rc: i32,
        /// What it said.
        output: Vec<String>,
    },
    /// The wait is not wanted any more.
    #[error("interrupted")]
    Cancelled,
}

fn indented(lines: &[String]) -> String {
    lines.iter().map(|line| format!("\n    {line}")).collect()
}
