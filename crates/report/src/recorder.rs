//! Keeps the rounds for the record.

use memtwin_replicate::{Observer, ReplicationEvent, Round};

/// An observer that keeps every committed round.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    rounds: Vec<Round>,
}

impl Recorder {
    /// The committed rounds so far, in order.
    pub fn rounds(&self) -> &[Round] {
        &self.rounds
    }

    /// Hands the rounds out and starts again.
    pub fn take(&mut self) -> Vec<Round> {
        std::mem::take(&mut self.rounds)
    }
}

impl Observer for Recorder {
    fn event(&mut self, event: &ReplicationEvent<'_>) {
        if let ReplicationEvent::Round(round) = event {
            self.rounds.push(**round);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_replicate::RoundKind;
    use std::time::Duration;

    #[test]
    fn two_observers_hear_the_same_and_keep_the_committed_rounds() {
        let none = Duration::ZERO;
        let round = |n| Round {
            n,
            kind: RoundKind::Delta,
            dirty_pages: 1,
            sent_pages: 1,
            false_dirty_pages: 0,
            zero_pages: 0,
            bytes: 0,
            collect: none,
            copy: none,
            total: none,
        };
        let (mut first, mut second) = (Recorder::default(), Recorder::default());
        let mut both = (&mut first, &mut second);
        both.event(&ReplicationEvent::Round(&round(1)));
        both.event(&ReplicationEvent::Collected { round: 2, named: &[] });
        both.event(&ReplicationEvent::Copied { pages: 1, of: 1 });
        both.event(&ReplicationEvent::Round(&round(3)));
        assert_eq!(first.take(), [round(1), round(3)]);
        assert!(first.rounds().is_empty());
        assert_eq!(second.rounds(), [round(1), round(3)]);
    }
}
