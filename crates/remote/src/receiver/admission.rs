//! Those who are introducing themselves: a bounded number, and whoever holds a place without using
//! it loses it to the next who comes.

use super::shared_writer::locked;
use crate::stream::StreamCloser;
use std::net::IpAddr;
use std::sync::Mutex;

/// How many may be there who have shown nothing yet.
const MOST_STRANGERS: usize = 64;
/// How many may be there who have shown a certificate, or said HELLO where none is asked for.
const MOST_GUESTS: usize = 16;

/// How far one has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum IntroductionProgress {
    /// Not a byte was heard.
    Silent,
    /// Something was.
    Heard,
    /// It has shown who it is.
    Shown,
}

struct AdmittedPeer {
    number: u64,
    from: Option<IpAddr>,
    progress: IntroductionProgress,
    closer: StreamCloser,
}

#[derive(Default)]
struct AdmissionState {
    next: u64,
    people: Vec<AdmittedPeer>,
}

/// Those who are introducing themselves.
#[derive(Default)]
pub(super) struct PeerAdmission(Mutex<AdmissionState>);

/// A place among them, given back when it is dropped.
pub(super) struct AdmissionSlot<'c> {
    admission: &'c PeerAdmission,
    number: u64,
}

impl PeerAdmission {
    /// Lets someone in, in the place of another if it has to be: of the address from which most have
    /// come the one that has shown least, and of those the one that came first.
    pub(super) fn enter(&self, from: Option<IpAddr>, closer: StreamCloser) -> AdmissionSlot<'_> {
        let mut state = locked(&self.0);
        state.make_room(|progress| progress < IntroductionProgress::Shown, MOST_STRANGERS);
        let number = state.next;
        state.next += 1;
        state.people.push(AdmittedPeer {
            number,
            from,
            progress: IntroductionProgress::Silent,
            closer,
        });
        AdmissionSlot { admission: self, number }
    }
}

impl AdmissionState {
    /// Sends one of these away if there are as many as there may be.
    fn make_room(&mut self, of: impl Fn(IntroductionProgress) -> bool, most: usize) {
        let those = || self.people.iter().filter(|person| of(person.progress));
        if those().count() < most {
            return;
        }
        let as_many = |from| those().filter(|person| person.from == from).count();
        let first = those().min_by_key(|person| {
            (std::cmp::Reverse(as_many(person.from)), person.progress, person.number)
        });
        if let Some(number) = first.map(|person| person.number) {
            self.people.retain(|person| {
                let stays = person.number != number;
                if !stays {
                    person.closer.close();
                }
                stays
            });
        }
    }
}

impl AdmissionSlot<'_> {
    /// Someone has come as far as this.
    pub(super) fn reached(&self, progress: IntroductionProgress) {
        let mut state = locked(&self.admission.0);
        if progress == IntroductionProgress::Shown {
            state.make_room(|progress| progress == IntroductionProgress::Shown, MOST_GUESTS);
        }
        let me = state.people.iter_mut().find(|person| person.number == self.number);
        if let Some(me) = me {
            me.progress = me.progress.max(progress);
        }
    }
}

impl Drop for AdmissionSlot<'_> {
    fn drop(&mut self) {
        locked(&self.admission.0).people.retain(|person| person.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn flag() -> (Arc<AtomicBool>, StreamCloser) {
        let gone = Arc::new(AtomicBool::new(false));
        let sets = Arc::clone(&gone);
        (gone, StreamCloser::new(move || sets.store(true, Ordering::SeqCst)))
    }

    #[test]
    fn whoever_shows_least_makes_room_and_no_one_else() {
        let admission = PeerAdmission::default();
        let (here, there): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let mut entries = Vec::new();
        let mut came = Vec::new();
        let mut enter = |from, progress| {
            let (gone, closer) = flag();
            let entry = admission.enter(Some(from), closer);
            entry.reached(progress);
            entries.push(entry);
            came.push(gone);
        };
        // One that has shown itself, one of another address, one that has said something.
        enter(here, IntroductionProgress::Shown);
        enter(there, IntroductionProgress::Silent);
        enter(here, IntroductionProgress::Heard);
        (0..MOST_STRANGERS * 10).for_each(|_| enter(here, IntroductionProgress::Silent));
        let gone: Vec<bool> = came.iter().map(|gone| gone.load(Ordering::SeqCst)).collect();
        assert_eq!(gone[..3], [false; 3]);
        let left = gone[3..].iter().filter(|gone| !**gone).count();
        assert_eq!(left, MOST_STRANGERS - 2);
        // The oldest went.
        assert!(gone[3..gone.len() - left].iter().all(|gone| *gone));
        drop(entries);
        assert!(locked(&admission.0).people.is_empty());
    }

    #[test]
    fn guests_make_room_for_guests() {
        let admission = PeerAdmission::default();
        let came: Vec<_> = (0..MOST_GUESTS + 3)
            .map(|_| {
                let (gone, closer) = flag();
                let entry = admission.enter(None, closer);
                entry.reached(IntroductionProgress::Shown);
                (gone, entry)
            })
            .collect();
        let gone: Vec<_> = came.iter().map(|(gone, _)| gone.load(Ordering::SeqCst)).collect();
        assert_eq!(gone.iter().filter(|gone| **gone).count(), 3);
        assert_eq!(gone[..3], [true; 3]);
    }
}
