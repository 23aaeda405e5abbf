//! A session of a guest and a twin, as it is run in these tests.

use crate::twins::{FailingTwin, KeptTwin, TwinKind};
use memtwin_pages::Layout;
use memtwin_replicate::{
    CancelToken, GuestControl, Observer, Provenance, ReadMemory, ReplicationEvent, RoundPlan,
    Source, Until,
};
use memtwin_report::{Case, CaseBuilder, Recorder};
use memtwin_session::{
    CaseFacts, InPlaceJudge, LastStop, Override, OwnGuest, ReadTwin, Session, SessionPlan,
};
use std::time::Duration;

/// What a guest brings that is judged in place.
pub(crate) trait TestedGuest: Source + GuestControl + ReadMemory + Provenance {}

impl<G: Source + GuestControl + ReadMemory + Provenance> TestedGuest for G {}

/// How a session is run.
pub(crate) struct Run {
    pub(crate) is_control: bool,
    pub(crate) last_stop: LastStop,
    /// A stop is asked for after this many rounds.
    pub(crate) interrupt_after: Option<u32>,
    /// The twin fails in this round.
    pub(crate) fail_round: Option<u32>,
    /// The judge looks after every this many rounds.
    pub(crate) still_every: Option<u32>,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            is_control: false,
            last_stop: LastStop::WritersEnded,
            interrupt_after: None,
            fail_round: None,
            still_every: None,
        }
    }
}

/// What came of it.
pub(crate) struct Done {
    pub(crate) case: Case,
    /// Whether the twin lies there as a complete one, where one is kept.
    pub(crate) kept: Option<bool>,
}

/// Asks for a stop when a round is over.
struct Interrupter<'s> {
    stop: &'s CancelToken,
    after: Option<u32>,
}

impl Observer for Interrupter<'_> {
    fn event(&mut self, event: &ReplicationEvent<'_>) {
        if let (ReplicationEvent::Round(round), Some(after)) = (event, self.after)
            && round.n >= after
        {
            self.stop.set();
        }
    }
}

impl Run {
    /// Runs it.
    pub(crate) fn on<G: TestedGuest>(&self, guest: G, kind: TwinKind) -> Done {
        let mut kept = KeptTwin::make(kind);
        let layout = guest.layout().clone();
        let (trial, mut facts) = match &mut kept {
            KeptTwin::Memory(twin) => self.session(guest, twin, &layout),
            KeptTwin::Open { twin, .. } => self.session(guest, twin, &layout),
        };
        facts.overrides.extend((kind == TwinKind::Discard).then_some(Override::TwinDiscarded));
        let (case, kept) = kept.conclude(&trial, facts, &layout);
        Done { case, kept }
    }

    fn session<G: TestedGuest, K: ReadTwin>(
        &self,
        guest: G,
        twin: &mut K,
        layout: &Layout,
    ) -> (CaseBuilder, CaseFacts) {
        let stop = CancelToken::default();
        let mut judge = InPlaceJudge::new(self.is_control);
        let mut recorder = Recorder::default();
        let source = guest.provenance().source;
        let interrupter = Interrupter { stop: &stop, after: self.interrupt_after };
        let session = Session {
            source: guest,
            sink: FailingTwin { twin, fail_round: self.fail_round },
            observer: (&mut recorder, interrupter),
            plan: SessionPlan {
                rounds: RoundPlan {
                    interval: Duration::from_millis(1),
                    until: Until::Told,
                    rounds: Some(12),
                    time: None,
                    still_every: self.still_every,
                },
                guest_time: None,
                controller: None,
                last_stop: self.last_stop,
            },
            guest: OwnGuest::default(),
            judge: &mut judge,
            stop: &stop,
        };
        let end = session.run().unwrap();
        let mut facts = judge.facts(&end);
        let nothing = facts.injected.as_ref().is_some_and(Vec::is_empty);
        facts.overrides.extend(nothing.then_some(Override::NothingSuppressed));
        (CaseBuilder::new("contract", source, layout).rounds(recorder.rounds()), facts)
    }
}
