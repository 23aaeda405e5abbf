//! Between the listener and the one thread that serves: who may be served, and who waits for it.

use super::shared_writer::locked;
use crate::frames::{FrameReader, FrameWriter};
use crate::stream::StreamCloser;
use memtwin_pages::Layout;
use memtwin_wire::Hello;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

type SessionId = [u8; 16];

/// A sender whose turn it is.
pub(super) struct PendingPeer {
    pub(super) reader: FrameReader,
    pub(super) writer: FrameWriter,
    pub(super) closer: StreamCloser,
    pub(super) session: SessionId,
    pub(super) step: IntroductionStep,
}

/// How far a sender has introduced itself.
pub(super) enum IntroductionStep {
    /// It goes on with the session whose rounds are here, and is to be told which.
    Comes(Hello),
    /// It begins a session, and has said what its regions are.
    Begins(Layout),
}

/// What a sender that has said HELLO is to this receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionStanding {
    /// The sender of the rounds that are here.
    Known,
    /// One that may begin a session.
    New,
    /// One that may not, as another one is served.
    Foreign,
}

/// What there is to do next.
pub(super) enum NextPeer {
    Pending(Box<PendingPeer>),
    /// Nobody came in time.
    Nobody,
    /// Nobody will ever come.
    Closed,
}

#[derive(Default)]
struct ServingState {
    /// The session whose rounds are here.
    known: Option<SessionId>,
    /// The session that is served, and its connection of the moment, if there is one.
    served: Option<(SessionId, StreamCloser)>,
    waiting: VecDeque<Box<PendingPeer>>,
    closed: bool,
}

/// Who may be served, and who waits for it.
pub(super) struct ServingQueue {
    state: Mutex<ServingState>,
    changed: Condvar,
}

impl ServingQueue {
    /// Nobody is there, and the rounds of this session are.
    pub(super) fn new(known: Option<SessionId>) -> Self {
        let state = ServingState { known, ..ServingState::default() };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Who a sender is. One that comes again knows that its last connection is broken; and the one
    /// whose rounds are here goes before one whose first round is not whole.
    pub(super) fn greet(&self, session: SessionId) -> SessionStanding {
        let state = locked(&self.state);
        let known = state.known == Some(session);
        match &state.served {
            Some((served, last)) if known || *served == session => last.close(),
            Some(_) => return SessionStanding::Foreign,
            None => {}
        }
        if known { SessionStanding::Known } else { SessionStanding::New }
    }

    /// Lets a sender wait to be served. Gives it back if another is served by now.
    pub(super) fn join(&self, caller: Box<PendingPeer>) -> Result<(), Box<PendingPeer>> {
        let mut state = locked(&self.state);
        let known = state.known == Some(caller.session);
        match &state.served {
            Some((served, _)) if !known && *served != caller.session => return Err(caller),
            _ => {}
        }
        if known {
            // Its last one is broken, as it knows.
            state.waiting.retain(|before| before.session != caller.session);
            state.waiting.push_front(caller);
        } else {
            state.waiting.push_back(caller);
        }
        self.changed.notify_all();
        Ok(())
    }

    /// The next to be served. The others that wait are sent away: they call again.
    pub(super) fn next(&self, within: Duration) -> NextPeer {
        let (mut state, _) = self
            .changed
            .wait_timeout_while(locked(&self.state), within, |state| {
                state.waiting.is_empty() && !state.closed
            })
            .unwrap_or_else(PoisonError::into_inner);
        let Some(caller) = state.waiting.pop_front() else {
            return if state.closed { NextPeer::Closed } else { NextPeer::Nobody };
        };
        state.served = Some((caller.session, caller.closer.clone()));
        state.waiting.drain(..).for_each(|other| other.closer.close());
        NextPeer::Pending(caller)
    }

    /// The rounds of this session are here now.
    pub(super) fn know(&self, session: Option<SessionId>) {
        locked(&self.state).known = session;
    }

    /// The connection is over. `bound`: its session is not.
    pub(super) fn leave(&self, bound: bool) {
        if !bound {
            locked(&self.state).served = None;
        }
    }

    /// Nobody will come any more.
    pub(super) fn close(&self) {
        locked(&self.state).closed = true;
        self.changed.notify_all();
    }
}
