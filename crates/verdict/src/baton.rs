//! A baton that goes around a ring of workers: what must see the image in order (a running digest)
//! is passed on from the worker of one chunk to the worker of the next.

use std::sync::mpsc::{Receiver, Sender, channel};

/// One worker's place in the ring.
pub(crate) struct Baton<T> {
    from: Receiver<T>,
    to: Sender<T>,
}

impl<T> Baton<T> {
    /// A ring of `workers` places. The first holds the baton.
    pub(crate) fn ring(workers: usize, baton: T) -> Vec<Self> {
        let (mut to, from): (Vec<_>, Vec<_>) = (0..workers).map(|_| channel()).unzip();
        if let Some(first) = to.first() {
            // Its receiver lives, so it takes it.
            let _ = first.send(baton);
        }
        to.rotate_left(1);
        from.into_iter().zip(to).map(|(from, to)| Self { from, to }).collect()
    }

    /// Waits for the baton. `None` if it will never come: a worker gave up.
    pub(crate) fn take(&self) -> Option<T> {
        self.from.recv().ok()
    }

    /// Passes the baton on.
    pub(crate) fn pass(&self, baton: T) {
        // A next worker that gave up says why itself.
        let _ = self.to.send(baton);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_baton_goes_around_in_order() {
        for workers in 1..5 {
            let ring = Baton::ring(workers, Vec::new());
            std::thread::scope(|scope| {
                for (worker, relay) in ring.into_iter().enumerate() {
                    scope.spawn(move || {
                        for n in (worker..100).step_by(workers) {
                            let mut seen = relay.take().unwrap();
                            assert_eq!(seen, (0..n).collect::<Vec<_>>());
                            seen.push(n);
                            relay.pass(seen);
                        }
                    });
                }
            });
        }
    }

    #[test]
    fn nobody_waits_for_a_worker_that_gave_up() {
        let mut ring = Baton::ring(3, ());
        drop(ring.remove(0));
        let (second, third) = (ring.remove(0), ring.remove(0));
        assert_eq!(second.take(), None);
        drop(second);
        assert_eq!(third.take(), None);
    }
}
