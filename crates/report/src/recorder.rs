//! Keeps the rounds for the record: what each came to, when it began, and where its pages were.

use crate::record::{HeatMap, RoundEntry};
use memtwin_pages::{PageSet, Region, RegionId};
use memtwin_replicate::{Observer, ReplicationEvent, Round, RoundKind};
use std::time::{Duration, Instant};

/// An observer that keeps every committed round.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    rounds: Vec<Round>,
    started: Vec<Duration>,
    heat: HeatRecorder,
    /// When pre-copy began.
    began: Option<Instant>,
}

impl Recorder {
    /// The committed rounds so far, in order.
    pub fn rounds(&self) -> &[Round] {
        &self.rounds
    }

    /// The same for the record, with their start times since pre-copy began.
    pub fn entries(&self) -> Vec<RoundEntry> {
        let both = self.rounds.iter().zip(&self.started);
        both.map(|(round, &started)| RoundEntry::from(round).started(started)).collect()
    }

    /// Where the pages of these rounds were, by region.
    pub fn heat(&self) -> &[HeatMap] {
        self.heat.regions()
    }

    /// Hands the rounds out and starts again.
    pub fn take(&mut self) -> Vec<Round> {
        std::mem::take(self).rounds
    }
}

impl Observer for Recorder {
    fn event(&mut self, event: &ReplicationEvent<'_>) {
        self.heat.event(event);
        match event {
            ReplicationEvent::Started(_) => {
                self.began.get_or_insert_with(Instant::now);
            }
            ReplicationEvent::Round(round) => {
                self.started.push(started(self.began, round));
                self.rounds.push(**round);
            }
            _ => {}
        }
    }
}

/// When a round that has just been committed began, since `began`.
pub fn started(began: Option<Instant>, round: &Round) -> Duration {
    began.map_or(Duration::ZERO, |began| began.elapsed()).saturating_sub(round.total)
}

/// An observer that counts in which part of each region pages were dirty after pre-copy.
#[derive(Clone, Debug, Default)]
pub struct HeatRecorder {
    regions: Vec<HeatMap>,
    /// What the round that is being committed adds.
    pending: Vec<HeatMap>,
}

impl HeatRecorder {
    /// What was counted, by region.
    pub fn regions(&self) -> &[HeatMap] {
        &self.regions
    }
}

impl Observer for HeatRecorder {
    fn event(&mut self, event: &ReplicationEvent<'_>) {
        match event {
            ReplicationEvent::Started(layout) if self.regions.is_empty() => {
                let of = |(_, region): (RegionId, &Region)| HeatMap::of_pages(region.pages());
                self.regions = layout.iter().map(of).collect();
            }
            ReplicationEvent::Shares { named, same, .. } => {
                self.pending = self.regions.iter().map(HeatMap::emptied).collect();
                let pages = named.iter().zip(same.iter().copied());
                self.pending.iter_mut().zip(pages).for_each(
                    |(heat, (named, same)): (&mut HeatMap, (&PageSet, &PageSet))| {
                        heat.add_dirty(named);
                        heat.add_false_dirty(same);
                    },
                );
            }
            // Pre-copy copies every page, whatever the log says.
            ReplicationEvent::Round(round) if round.kind != RoundKind::PreCopy => {
                let pending = std::mem::take(&mut self.pending);
                self.regions.iter_mut().zip(&pending).for_each(|(heat, round)| heat.add(round));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_pages::{Gpa, Layout, PageSize};

    fn round(n: u32, kind: RoundKind) -> Round {
        let none = Duration::ZERO;
        Round {
            n,
            kind,
            dirty_pages: 1,
            sent_pages: 1,
            false_dirty_pages: 0,
            zero_pages: 0,
            bytes: 0,
            collect: none,
            copy: none,
            total: none,
        }
    }

    #[test]
    fn two_observers_hear_the_same_and_keep_the_committed_rounds() {
        let round = |n| round(n, RoundKind::Delta);
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

    /// Pre-copy is not heat, and each later round starts after the one before.
    #[test]
    fn heat_is_of_the_rounds_after_pre_copy() {
        let page = PageSize::new(4096).unwrap();
        let layout = Layout::new(vec![Region::new("ram", Gpa(0), 8 * 4096, page).unwrap()]);
        let mut named = PageSet::new(8);
        named.insert(3);
        let mut same = PageSet::new(8);
        same.insert(5);
        let mut recorder = Recorder::default();
        recorder.event(&ReplicationEvent::Started(&layout));
        for (n, kind) in [(0, RoundKind::PreCopy), (1, RoundKind::Delta), (2, RoundKind::Final)] {
            let (named, same) = (std::slice::from_ref(&named), [&same]);
            recorder.event(&ReplicationEvent::Shares { round: n, of: &[], named, same: &same });
            recorder.event(&ReplicationEvent::Round(&round(n, kind)));
        }
        let heat = &recorder.heat()[0];
        assert_eq!(heat.dirty, [0, 0, 0, 2, 0, 0, 0, 0]);
        assert_eq!(heat.false_dirty, [0, 0, 0, 0, 0, 2, 0, 0]);
        let started: Vec<_> = recorder.entries().iter().map(|entry| entry.started_us).collect();
        assert!(started.is_sorted() && started.iter().all(Option::is_some), "{started:?}");
    }
}
