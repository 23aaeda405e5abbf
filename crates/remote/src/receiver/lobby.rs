//! Between the door and the one thread that serves: who may be served, and who waits for it.

use super::locked;
use crate::frames::{FrameReader, FrameWriter};
use crate::stream::Closer;
use memtwin_pages::Layout;
use memtwin_wire::Hello;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

type Session = [u8; 16];

/// A sender whose turn it is.
pub(super) struct Caller {
    pub(super) reader: FrameReader,
    pub(super) writer: FrameWriter,
    pub(super) closer: Closer,
    pub(super) session: Session,
    pub(super) step: Step,
}

/// How far a sender has introduced itself.
pub(super) enum Step {
    /// It goes on with the session whose rounds are here, and is to be told which.
    Comes(Hello),
    /// It begins a session, and has said what its regions are.
    Begins(Layout),
}

/// What a sender that has said HELLO is to this receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The sender of the rounds that are here.
    Known,
    /// One that may begin a session.
    New,
    /// One that may not, as another one is served.
    Foreign,
}

/// What there is to do next.
pub(super) enum Next {
    Caller(Box<Caller>),
    /// Nobody came in time.
    Nobody,
    /// Nobody will ever come.
    Closed,
}

#[derive(Default)]
struct State {
    /// The session whose rounds are here.
    known: Option<Session>,
    /// The session that is served, and its connection of the moment, if there is one.
    served: Option<(Session, Closer)>,
    waiting: VecDeque<Box<Caller>>,
    closed: bool,
}

/// Who may be served, and who waits for it.
pub(super) struct Lobby {
    state: Mutex<State>,
    changed: Condvar,
}

impl Lobby {
    /// Nobody is there, and the rounds of this session are.
    pub(super) fn new(known: Option<Session>) -> Self {
        let state = State { known, ..State::default() };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Who a sender is. One that comes again knows that its last connection is broken; and the one
    /// whose rounds are here goes before one whose first round is not whole.
    pub(super) fn greet(&self, session: Session) -> Standing {
        let state = locked(&self.state);
        let known = state.known == Some(session);
        match &state.served {
            Some((served, last)) if known || *served == session => last.close(),
            Some(_) => return Standing::Foreign,
            None => {}
        }
        if known { Standing::Known } else { Standing::New }
    }

    /// Lets a sender wait to be served. Gives it back if another is served by now.
    pub(super) fn join(&self, caller: Box<Caller>) -> Result<(), Box<Caller>> {
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
    pub(super) fn next(&self, within: Duration) -> Next {
        let (mut state, _) = self
            .changed
            .wait_timeout_while(locked(&self.state), within, |state| {
                state.waiting.is_empty() && !state.closed
            })
            .unwrap_or_else(PoisonError::into_inner);
        let Some(caller) = state.waiting.pop_front() else {
            return if state.closed { Next::Closed } else { Next::Nobody };
        };
        state.served = Some((caller.session, caller.closer.clone()));
        state.waiting.drain(..).for_each(|other| other.closer.close());
        Next::Caller(caller)
    }

    /// The rounds of this session are here now.
    pub(super) fn know(&self, session: Option<Session>) {
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
