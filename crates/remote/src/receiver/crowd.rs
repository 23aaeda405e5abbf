//! Those who are introducing themselves: a bounded number, and whoever holds a place without using
//! it loses it to the next who comes.

use super::locked;
use crate::stream::Closer;
use std::net::IpAddr;
use std::sync::Mutex;

/// How many may be there who have shown nothing yet.
const MOST_STRANGERS: usize = 64;
/// How many may be there who have shown a certificate, or said HELLO where none is asked for.
const MOST_GUESTS: usize = 16;

/// How far one has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Progress {
    /// Not a byte was heard.
    Silent,
    /// Something was.
    Heard,
    /// It has shown who it is.
    Shown,
}

struct Person {
    number: u64,
    from: Option<IpAddr>,
    progress: Progress,
    closer: Closer,
}

#[derive(Default)]
struct State {
    next: u64,
    people: Vec<Person>,
}

/// Those who are introducing themselves.
#[derive(Default)]
pub(super) struct Crowd(Mutex<State>);

/// A place among them, given back when it is dropped.
pub(super) struct Entry<'c> {
    crowd: &'c Crowd,
    number: u64,
}

impl Crowd {
    /// Lets someone in, in the place of another if it has to be: of the address from which most have
    /// come the one that has shown least, and of those the one that came first.
    pub(super) fn enter(&self, from: Option<IpAddr>, closer: Closer) -> Entry<'_> {
        let mut state = locked(&self.0);
        state.make_room(|progress| progress < Progress::Shown, MOST_STRANGERS);
        let number = state.next;
        state.next += 1;
        state.people.push(Person { number, from, progress: Progress::Silent, closer });
        Entry { crowd: self, number }
    }
}

impl State {
    /// Sends one of these away if there are as many as there may be.
    fn make_room(&mut self, of: impl Fn(Progress) -> bool, most: usize) {
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

impl Entry<'_> {
    /// Someone has come as far as this.
    pub(super) fn reached(&self, progress: Progress) {
        let mut state = locked(&self.crowd.0);
        if progress == Progress::Shown {
            state.make_room(|progress| progress == Progress::Shown, MOST_GUESTS);
        }
        let me = state.people.iter_mut().find(|person| person.number == self.number);
        if let Some(me) = me {
            me.progress = me.progress.max(progress);
        }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        locked(&self.crowd.0).people.retain(|person| person.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn flag() -> (Arc<AtomicBool>, Closer) {
        let gone = Arc::new(AtomicBool::new(false));
        let sets = Arc::clone(&gone);
        (gone, Closer::new(move || sets.store(true, Ordering::SeqCst)))
    }

    #[test]
    fn whoever_shows_least_makes_room_and_no_one_else() {
        let crowd = Crowd::default();
        let (here, there): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let mut entries = Vec::new();
        let mut came = Vec::new();
        let mut enter = |from, progress| {
            let (gone, closer) = flag();
            let entry = crowd.enter(Some(from), closer);
            entry.reached(progress);
            entries.push(entry);
            came.push(gone);
        };
        // One that has shown itself, one of another address, one that has said something.
        enter(here, Progress::Shown);
        enter(there, Progress::Silent);
        enter(here, Progress::Heard);
        (0..MOST_STRANGERS * 10).for_each(|_| enter(here, Progress::Silent));
        let gone: Vec<bool> = came.iter().map(|gone| gone.load(Ordering::SeqCst)).collect();
        assert_eq!(gone[..3], [false; 3]);
        let left = gone[3..].iter().filter(|gone| !**gone).count();
        assert_eq!(left, MOST_STRANGERS - 2);
        // The oldest went.
        assert!(gone[3..gone.len() - left].iter().all(|gone| *gone));
        drop(entries);
        assert!(locked(&crowd.0).people.is_empty());
    }

    #[test]
    fn guests_make_room_for_guests() {
        let crowd = Crowd::default();
        let came: Vec<_> = (0..MOST_GUESTS + 3)
            .map(|_| {
                let (gone, closer) = flag();
                let entry = crowd.enter(None, closer);
                entry.reached(Progress::Shown);
                (gone, entry)
            })
            .collect();
        let gone: Vec<_> = came.iter().map(|(gone, _)| gone.load(Ordering::SeqCst)).collect();
        assert_eq!(gone.iter().filter(|gone| **gone).count(), 3);
        assert_eq!(gone[..3], [true; 3]);
    }
}
