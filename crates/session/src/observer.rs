//! Who hears what a session does: the engine's events, and between them the cases.

use memtwin_replicate::Observer;
use memtwin_report::{Case, Progress};

/// Hears the engine's events of every case, and where one case ends and the next begins. May fail nothing
/// and change nothing.
pub trait SessionObserver: Observer {
    /// A case begins.
    fn case_started(&mut self, _name: &str) {}

    /// A case of several has its verdict.
    fn case_finished(&mut self, _case: &Case) {}
}

/// Hears nothing.
impl SessionObserver for () {}

impl<O: SessionObserver + ?Sized> SessionObserver for &mut O {
    fn case_started(&mut self, name: &str) {
        (**self).case_started(name);
    }

    fn case_finished(&mut self, case: &Case) {
        (**self).case_finished(case);
    }
}

/// Both hear, the first one first.
impl<A: SessionObserver, B: SessionObserver> SessionObserver for (A, B) {
    fn case_started(&mut self, name: &str) {
        self.0.case_started(name);
        self.1.case_started(name);
    }

    fn case_finished(&mut self, case: &Case) {
        self.0.case_finished(case);
        self.1.case_finished(case);
    }
}

impl SessionObserver for Progress {
    fn case_started(&mut self, name: &str) {
        self.case(name);
    }

    fn case_finished(&mut self, case: &Case) {
        self.finish_case(case);
    }
}
