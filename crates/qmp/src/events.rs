//! Events that arrived while something else was waited for, in bounded memory.

use serde::Deserialize;
use serde_json::Value;
use std::collections::VecDeque;

/// How many events are kept.
const MOST: usize = 4096;

/// How many bytes of them are kept, as they came in. One event is kept whatever its size.
const MOST_BYTES: usize = 16 << 20;

/// Events of which only the newest says anything: they come thousands of times a second.
const COALESCED: [&str; 1] = ["MIGRATION_PASS"];

/// When an event happened, by QEMU's wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Timestamp {
    /// Whole seconds since 1970; -1 if QEMU does not know.
    pub seconds: i64,
    /// Microseconds beyond them.
    pub microseconds: i64,
}

/// Something that happened in QEMU (`docs/interop/qmp-spec.rst`, "Asynchronous events").
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct QmpEvent {
    /// Its name, in capitals: STOP, MIGRATION, …
    #[serde(rename = "event")]
    pub name: String,
    /// What belongs to it; null if nothing does.
    #[serde(default)]
    pub data: Value,
    /// When it happened.
    #[serde(default)]
    pub timestamp: Timestamp,
}

/// The events that nobody has taken yet, oldest first.
///
/// Of MIGRATION_PASS only the newest is kept. Beyond a bound the oldest events of all are dropped,
/// and counted.
#[derive(Debug, Default)]
pub struct EventQueue {
    kept: VecDeque<(usize, QmpEvent)>,
    bytes: usize,
    dropped: u64,
}

impl EventQueue {
    /// Keeps an event whose message had `bytes` bytes.
    pub(crate) fn push(&mut self, bytes: usize, event: QmpEvent) {
        if COALESCED.contains(&event.name.as_str())
            && let Some(older) = self.kept.iter().rposition(|(_, kept)| kept.name == event.name)
        {
            self.remove(older);
        }
        self.kept.push_back((bytes, event));
        self.bytes += bytes;
        while self.kept.len() > MOST || (self.bytes > MOST_BYTES && self.kept.len() > 1) {
            self.remove(0);
            self.dropped += 1;
        }
    }

    /// Takes the oldest event for which `wanted` says yes; the others stay.
    pub(crate) fn take(&mut self, wanted: &mut impl FnMut(&QmpEvent) -> bool) -> Option<QmpEvent> {
        let at = self.kept.iter().position(|(_, event)| wanted(event))?;
        self.remove(at)
    }

    /// Takes the newest event if it is wanted.
    pub(crate) fn take_newest(
        &mut self,
        wanted: &mut impl FnMut(&QmpEvent) -> bool,
    ) -> Option<QmpEvent> {
        let newest = self.kept.len().checked_sub(1)?;
        if wanted(&self.kept[newest].1) { self.remove(newest) } else { None }
    }

    /// Takes all of them.
    pub(crate) fn drain(&mut self) -> Vec<QmpEvent> {
        self.bytes = 0;
        self.kept.drain(..).map(|(_, event)| event).collect()
    }

    /// How many events were dropped because nobody took them in time.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How many wait to be taken.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    fn remove(&mut self, at: usize) -> Option<QmpEvent> {
        let (bytes, event) = self.kept.remove(at)?;
        self.bytes -= bytes;
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, n: u64) -> QmpEvent {
        QmpEvent { name: name.to_owned(), data: n.into(), timestamp: Timestamp::default() }
    }

    #[test]
    fn the_oldest_go_first_and_are_counted() {
        let mut events = EventQueue::default();
        for n in 0..MOST as u64 + 3 {
            events.push(10, event("STOP", n));
        }
        assert_eq!((events.len(), events.dropped()), (MOST, 3));
        assert_eq!(events.take(&mut |_| true).unwrap().data, 3);
        assert_eq!(events.drain().len(), MOST - 1);
        assert!(events.is_empty());
    }

    #[test]
    fn bytes_are_bounded_too_but_one_event_is_always_kept() {
        let mut events = EventQueue::default();
        events.push(MOST_BYTES, event("A", 1));
        events.push(1, event("B", 2));
        assert_eq!((events.len(), events.dropped()), (1, 1));
        events.push(2 * MOST_BYTES, event("C", 3));
        assert_eq!(events.take(&mut |_| true).unwrap().name, "C");
        events.push(1, event("D", 4));
        assert_eq!((events.len(), events.bytes), (1, 1));
    }

    #[test]
    fn of_passes_the_newest_stays_and_pushes_nothing_out() {
        let mut events = EventQueue::default();
        events.push(1, event("STOP", 0));
        for n in 0..3 * MOST as u64 {
            events.push(1, event("MIGRATION_PASS", n));
        }
        let kept = events.drain();
        assert_eq!(
            kept.iter().map(|event| &*event.name).collect::<Vec<_>>(),
            ["STOP", "MIGRATION_PASS"]
        );
        assert_eq!(kept[1].data, 3 * MOST as u64 - 1);
        assert_eq!(events.dropped(), 0);
    }
}
