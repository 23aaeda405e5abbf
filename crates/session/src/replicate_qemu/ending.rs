//! How a replication of a QEMU ended, as a case.

use super::Session;
use crate::controller::ReplicationController;
use crate::judge::Findings;
use memtwin_replicate::Ended;
use memtwin_report::record::PageAt;
use memtwin_report::{Case, Recorder, Trial};

/// What it ended with.
pub(super) struct End {
    pub(super) ended: Ended,
    pub(super) findings: Findings,
    /// How many pages the guest gave up.
    pub(super) discarded: u64,
    /// What kept the judge from a verdict.
    pub(super) trouble: Option<String>,
    /// What a control has changed.
    pub(super) injected: Vec<PageAt>,
}

/// How it ended.
pub(super) enum EndOf {
    /// At a stop, and judged.
    Reached(End),
    /// Nothing was kept.
    Discarded(Ended),
    /// Before there was a verdict, for this reason.
    Broken(String, Findings),
}

impl EndOf {
    /// Whether the twin is the guest's memory.
    pub(super) fn is_good(&self) -> bool {
        matches!(self, Self::Reached(end) if end.trouble.is_none() && end.findings.lost().is_empty())
    }

    pub(super) fn trial(&self, session: &Session<'_>, recorder: &Recorder) -> Trial {
        let control = session.controller.is_some_and(ReplicationController::is_control);
        let name = if control { "replicate/qemu/control" } else { "replicate/qemu" };
        let trial = Trial::new(name, &session.name, session.layout).rounds(recorder.rounds());
        let trial = match self {
            Self::Reached(end) => trial.discarded(end.discarded),
            _ => trial,
        };
        match self {
            _ if !control => trial,
            Self::Reached(end) => trial.control(end.injected.iter().cloned()),
            _ => trial.control([]),
        }
    }

    pub(super) fn case(&self, session: &Session<'_>, recorder: &Recorder) -> Case {
        let trial = self.trial(session, recorder);
        match self {
            Self::Broken(reason, findings) => trial.inconclusive(reason, findings.lost()),
            Self::Discarded(_) => trial.not_judged("a twin that was discarded can't be judged"),
            Self::Reached(End { findings, trouble: Some(trouble), .. }) => {
                trial.inconclusive(trouble, findings.lost())
            }
            Self::Reached(End { findings, .. }) => {
                trial.judged(findings.lost(), findings.digests())
            }
        }
    }
}
