//! A guest of our own is judged where it stands: it may be paused for as long as that takes.

use super::Judge;
use crate::findings::Findings;
use crate::read_twin::ReadTwin;
use crate::session::SessionEnd;
use crate::verdict::CaseFacts;
use memtwin_replicate::{
    CancelToken, GuestControl, Observer, PausedGuest, ReadMemory, Replication, RoundError, Source,
};
use memtwin_report::record::PageAt;

/// Compares memory and twin while the guest is paused, at each stop.
#[derive(Debug, Default)]
pub struct InPlaceJudge {
    is_control: bool,
    findings: Findings,
    trouble: Option<String>,
    injected: Vec<PageAt>,
    written: u64,
}

impl InPlaceJudge {
    /// A judge of a case, or of a control: of that it is asked at the stop which pages were suppressed.
    pub fn new(is_control: bool) -> Self {
        Self { is_control, ..Self::default() }
    }

    /// How many pages the guest had written at the stop, by its own count.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// What was seen in a session that ended so.
    pub fn facts(self, end: &SessionEnd) -> CaseFacts {
        let Self { is_control, findings, trouble, injected, .. } = self;
        let broken = end.broken().or(trouble);
        // What was suppressed is known at the stop, and only if the judge could look there.
        let injected = if broken.is_some() { Vec::new() } else { injected };
        CaseFacts {
            broken,
            lost: findings.lost(),
            digests: findings.digests(),
            injected: is_control.then_some(injected),
            ..CaseFacts::default()
        }
    }
}

impl<S, K> Judge<S, K> for InPlaceJudge
where
    S: Source + GuestControl + ReadMemory,
    K: ReadTwin,
{
    fn look<O: Observer>(&mut self, paused: &mut PausedGuest<'_, S, K, O>) {
        let looked = self.findings.look(paused);
        let trouble = looked.err().map(|error| error.to_string());
        self.trouble = self.trouble.take().or(trouble);
    }

    fn stop<O: Observer>(
        &mut self,
        replication: &mut Replication<S, K, O>,
        stop: &CancelToken,
    ) -> Result<(), RoundError> {
        let mut paused = replication.pause_and_settle(stop)?;
        Judge::look(self, &mut paused);
        if self.is_control {
            let pages = paused.compare(|paused| paused.source().injected())??;
            let at = |(region, page)| PageAt::of(paused.layout().region(region), page);
            self.injected = pages.into_iter().map(at).collect();
        }
        self.written = paused.source().written();
        paused.release()
    }
}
