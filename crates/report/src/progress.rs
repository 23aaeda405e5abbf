//! What a run says on standard error while it goes on: a live line on a terminal, sparse plain
//! lines where there is none, nothing if it was told to be quiet.

mod beside;
mod pace;
mod spark;
mod state;

pub use beside::Stderr;

use crate::record::Case;
use crate::text::{count, one_line, outcome, time};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use memtwin_replicate::{Observer, ReplicationEvent};
use pace::UpdateLimiter;
use state::LiveLine;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the live line changes: often enough to look alive.
const LIVE: Duration = Duration::from_millis(100);

/// How often a lone case says a line: seldom enough for a log file.
const SPARSE: Duration = Duration::from_secs(1);

/// Whether to show progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProgressMode {
    /// Nothing.
    Quiet,
    /// As standard error allows.
    #[default]
    Auto,
}

/// The progress of a run: told of the cases by whoever runs them, and of the rounds by the engine,
/// as its observer. Dropped, whether the run came to its end, failed or was interrupted, it takes
/// the live line away; a panic's message stands behind the last one.
#[derive(Debug)]
pub struct Progress {
    view: View,
    state: LiveLine,
    pace: UpdateLimiter,
}

enum View {
    Quiet,
    Live(ProgressBar),
    Plain(Box<dyn Write + Send>),
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quiet => "Quiet",
            Self::Live(_) => "Live",
            Self::Plain(_) => "Plain",
        })
    }
}

impl Progress {
    /// The progress of this many cases, on standard error.
    pub fn new(mode: ProgressMode, total_cases: usize) -> Self {
        match mode {
            ProgressMode::Quiet => Self::with(View::Quiet, total_cases, LIVE),
            ProgressMode::Auto if io::stderr().is_terminal() => {
                // Above what we ask for: the pace is ours, and no frame of it is to be dropped.
                Self::live(ProgressDrawTarget::stderr_with_hz(60), total_cases)
            }
            ProgressMode::Auto => Self::plain(Box::new(io::stderr()), total_cases),
        }
    }

    fn live(target: ProgressDrawTarget, total_cases: usize) -> Self {
        let bar = ProgressBar::with_draw_target(None, target);
        // The whole line is a message, cut where the terminal ends: one change, one drawing.
        if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
            bar.set_style(style);
        }
        Self::with(View::Live(bar), total_cases, LIVE)
    }

    fn plain(to: Box<dyn Write + Send>, total_cases: usize) -> Self {
        Self::with(View::Plain(to), total_cases, SPARSE)
    }

    fn with(view: View, total_cases: usize, every: Duration) -> Self {
        Self { view, state: LiveLine::new(total_cases), pace: UpdateLimiter::new(every) }
    }

    /// The next case begins.
    pub fn case(&mut self, name: &str) {
        self.state.case(one_line(name));
        if let View::Live(_) = self.view {
            self.show(Instant::now());
        }
    }

    /// The case has its verdict.
    pub fn finish_case(&mut self, case: &Case) {
        let rounds = count(case.rounds().len() as u64, "round");
        let dirty = count(case.dirty_pages(), "dirty page");
        let took = time(case.time_in_rounds());
        let said = match case.reason() {
            Some(reason) => one_line(reason),
            None => format!("{rounds}, {dirty}, {took} in rounds"),
        };
        let line = format!(
            "{}{}: {}: {said}",
            self.state.position(),
            one_line(case.name()),
            outcome(case)
        );
        if let View::Plain(to) = &mut self.view {
            say(to, &line);
        }
    }

    /// Says a line that stays, above the live one.
    pub fn note(&mut self, text: &str) {
        match &mut self.view {
            View::Quiet => {}
            View::Live(bar) => bar.println(one_line(text)),
            View::Plain(to) => say(to, &one_line(text)),
        }
    }

    /// Standard error for others, logs above all, which the live line makes room for.
    pub fn stderr(&self) -> Stderr {
        match &self.view {
            View::Live(bar) => Stderr::beside(bar.clone()),
            View::Quiet | View::Plain(_) => Stderr::alone(),
        }
    }

    fn hear(&mut self, event: &ReplicationEvent<'_>, clock: impl FnOnce() -> Instant) {
        if matches!(self.view, View::Quiet) {
            return;
        }
        self.state.hear(event);
        // A guest stands still: a terminal that takes no more must not hold it up.
        if self.state.is_paused() {
            return;
        }
        let now = match (&self.view, event) {
            (View::Live(_), ReplicationEvent::Copied { .. }) => self.pace.glance(clock),
            (View::Live(_), _) => self.pace.look(clock()),
            // Of many cases each says a line at its end, and none before.
            (View::Plain(_), ReplicationEvent::Round(_)) if self.state.alone() => {
                self.pace.look(clock())
            }
            _ => None,
        };
        if let Some(now) = now {
            self.show(now);
        }
    }

    fn show(&mut self, now: Instant) {
        self.state.measure(now);
        match &mut self.view {
            View::Quiet => {}
            View::Live(bar) => bar.set_message(self.state.line()),
            View::Plain(to) => say(to, &self.state.plain_line()),
        }
    }
}

/// Standard error may be closed; that is no reason to end a run.
fn say(to: &mut dyn Write, line: &str) {
    let _ = writeln!(to, "{line}");
}

impl Observer for Progress {
    fn event(&mut self, event: &ReplicationEvent<'_>) {
        self.hear(event, Instant::now);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let View::Live(bar) = &self.view {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests;
