//! What sending came to, in numbers.

use super::sender_link::SenderLink;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What sending came to so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Bytes that went onto the wire, over all connections.
    pub sent_bytes: u64,
    /// How long the wire took to take them: where a link is full, `sent_bytes` by this is its rate.
    pub sending: Duration,
    /// How long was waited for acknowledgements: the receiver's back-pressure.
    pub stalled: Duration,
    /// Pages that were taken from the engine.
    pub pages: u64,
    /// Rounds that are sent and not acknowledged.
    pub rounds_on_the_way: u64,
    /// Connections that were made in place of a broken one.
    pub reconnects: u64,
    /// How long there was no connection.
    pub away: Duration,
    /// The most ended rounds that one break has swallowed.
    pub rounds_swallowed: u64,
    /// Pages that breaks had swallowed and that were sent again.
    pub pages_again: u64,
}

impl Figures {
    /// The rate at which the link takes bytes, in bytes a second, if it was busy long enough to say.
    pub fn link_rate(&self) -> Option<f64> {
        let seconds = self.sending.as_secs_f64();
        (seconds > 0.001).then(|| self.sent_bytes as f64 / seconds)
    }
}

/// The figures as they grow.
#[derive(Clone, Debug, Default)]
pub(super) struct FigureMeter(Arc<Mutex<(Figures, EarlierLinks)>>);

/// What connections before this one have sent.
#[derive(Debug, Default)]
struct EarlierLinks {
    bytes: u64,
    sending: Duration,
}

impl FigureMeter {
    fn lock(&self) -> MutexGuard<'_, (Figures, EarlierLinks)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn figures(&self) -> Figures {
        self.lock().0
    }

    pub(super) fn took(&self, pages: u64) {
        self.lock().0.pages += pages;
    }

    pub(super) fn stalled(&self, time: Duration) {
        self.lock().0.stalled += time;
    }

    pub(super) fn sent_again(&self, pages: u64) {
        self.lock().0.pages_again += pages;
    }

    pub(super) fn swallowed(&self, rounds: u64) {
        let figures = &mut self.lock().0;
        figures.rounds_swallowed = figures.rounds_swallowed.max(rounds);
    }

    pub(super) fn reconnected(&self, away: Duration) {
        let (figures, base) = &mut *self.lock();
        figures.reconnects += 1;
        figures.away += away;
        *base = EarlierLinks { bytes: figures.sent_bytes, sending: figures.sending };
    }

    /// Looks at what the link has sent.
    pub(super) fn linked(&self, link: &SenderLink, rounds_on_the_way: usize) {
        let (bytes, sending) = link.sent_in();
        let (figures, base) = &mut *self.lock();
        figures.sent_bytes = base.bytes + bytes;
        figures.sending = base.sending + sending;
        figures.rounds_on_the_way = rounds_on_the_way as u64;
    }
}
