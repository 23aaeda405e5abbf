//! Each case's record as soon as it has ended, for who asks from another machine: what has ended is known
//! there, whatever becomes of this one (`memtwin_lab::pieces`).

use crate::invocation::Invocation;
use memtwin_lab::pieces;
use memtwin_replicate::{Observer, ReplicationEvent};
use memtwin_report::Case;
use memtwin_session::SessionObserver;
use std::io::Write;

/// Says them on standard error, if they are wanted.
pub(crate) struct CheckPieces<'c> {
    wanted: bool,
    invocation: &'c Invocation,
    said: usize,
}

impl<'c> CheckPieces<'c> {
    pub(crate) fn new(wanted: bool, invocation: &'c Invocation) -> Self {
        Self { wanted, invocation, said: 0 }
    }

    /// A case has ended.
    pub(crate) fn case(&mut self, case: &Case) {
        if !self.wanted {
            return;
        }
        let record = self.invocation.record(vec![case.clone()]);
        let record = crate::output::complete(self.invocation, record, Vec::new());
        if let Ok(record) = serde_json::to_string(&record) {
            self.said += 1;
            say(&pieces::line(&record));
        }
    }

    /// That was the last. Who does not hear it knows that more was to come.
    pub(crate) fn end(&self) {
        if self.wanted {
            say(&pieces::last(self.said));
        }
    }
}

impl Observer for CheckPieces<'_> {
    fn event(&mut self, _event: &ReplicationEvent<'_>) {}
}

impl SessionObserver for CheckPieces<'_> {
    fn case_finished(&mut self, case: &Case) {
        self.case(case);
    }
}

fn say(line: &str) {
    // Who does not hear it knows that by the number of the last.
    let _ = writeln!(std::io::stderr(), "{line}");
}
