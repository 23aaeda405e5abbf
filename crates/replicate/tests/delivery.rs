//! The engine with a hypervisor that hands its pages over: every page that came is in the twin at a
//! stand-still, what never came is named, and a round that broke off is the last one.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

use memtwin_pages::{Gpa, Layout, PageSet, PageSize, Region, RegionId};
use memtwin_replicate::{
    BufferedSource, CancelToken, Collector, GuestState, Observer, PageReceiver, PushSource,
    RegionRound, Replication, ReplicationEvent, RoundError, RoundKind, Sink, SinkError, Source,
    SourceError, WriteOutcome,
};
use proptest::prelude::*;

const PAGE: usize = 512;
const PAGES: u64 = 70;

/// A hypervisor with a script: which pages each round's delivery has, and what is in them.
struct Pushing {
    layout: Layout,
    memory: Vec<u8>,
    rounds: std::vec::IntoIter<Vec<(u64, u8)>>,
    withheld: Option<u64>,
    paused: bool,
    fails_after: Option<usize>,
}

impl Pushing {
    fn new(rounds: Vec<Vec<(u64, u8)>>) -> Self {
        let size = PageSize::new(PAGE as u64).unwrap();
        let region = Region::new("ram", Gpa(0), PAGES * PAGE as u64, size).unwrap();
        let memory = (0..PAGES as usize * PAGE).map(|at| (at / PAGE) as u8).collect();
        Self {
            layout: Layout::new(vec![region]),
            memory,
            rounds: rounds.into_iter(),
            withheld: None,
            paused: false,
            fails_after: None,
        }
    }

    fn page(&self, page: u64) -> &[u8] {
        &self.memory[page as usize * PAGE..(page as usize + 1) * PAGE]
    }
}

impl Source for Pushing {
    fn layout(&self) -> &Layout {
        &self.layout
    }
    fn start_logging(&mut self) -> Result<(), SourceError> {
        Ok(())
    }
    fn collect(&mut self, _into: &mut dyn Collector) -> Result<(), SourceError> {
        panic!("nobody collects from it");
    }
    fn read(&mut self, _: RegionId, _: u64, _: &mut [u8]) -> Result<(), SourceError> {
        panic!("nobody reads from it");
    }
    fn pause(&mut self) -> Result<(), SourceError> {
        self.paused = true;
        Ok(())
    }
    fn confirm_paused(&mut self) -> Result<(), SourceError> {
        Ok(())
    }
    fn resume(&mut self) -> Result<(), SourceError> {
        self.paused = false;
        Ok(())
    }
    fn stop_logging(&mut self) -> Result<(), SourceError> {
        Ok(())
    }
    fn guest(&mut self) -> Result<GuestState, SourceError> {
        Ok(GuestState::Running)
    }
    fn push_source(&mut self) -> Option<&mut dyn PushSource> {
        Some(self)
    }
}

impl PushSource for Pushing {
    fn deliver(
        &mut self,
        kind: RoundKind,
        into: &mut dyn PageReceiver,
        _stop: &CancelToken,
    ) -> Result<(), RoundError> {
        let mut sent = 0;
        let pages: Vec<u64> = match kind {
            RoundKind::PreCopy => (0..PAGES).collect(),
            RoundKind::Delta | RoundKind::Final => {
                let writes = self.rounds.next().unwrap_or_default();
                for &(page, value) in &writes {
                    let at = page as usize * PAGE;
                    // A page of one byte, or one with a mark in it.
                    if value % 2 == 0 {
                        self.memory[at..at + PAGE].fill(value);
                    } else {
                        self.memory[at + usize::from(value)] = value;
                    }
                }
                writes.into_iter().map(|(page, _)| page).collect()
            }
        };
        for page in pages {
            if self.withheld == Some(page) {
                continue;
            }
            if self.fails_after == Some(sent) {
                self.fails_after = None;
                return Err(SourceError::Log("scripted".into()).into());
            }
            sent += 1;
            let bytes = self.page(page).to_vec();
            match bytes.iter().all(|&byte| byte == bytes[0]) {
                true => into.filled(RegionId(0), page, bytes[0])?,
                false => into.pages(RegionId(0), page, &bytes)?,
            }
        }
        Ok(())
    }
}

/// A twin that fails at its n-th call, once.
#[derive(Default)]
struct Twin {
    committed: Vec<u8>,
    staged: Vec<(u64, Vec<u8>)>,
    calls: usize,
    fails_at: Option<usize>,
}

impl Twin {
    fn call(&mut self) -> Result<(), SinkError> {
        self.calls += 1;
        if self.fails_at == Some(self.calls) {
            self.staged.clear();
            return Err(SinkError::new("scripted"));
        }
        Ok(())
    }
}

impl Sink for Twin {
    fn open(&mut self, layout: &Layout) -> Result<(), SinkError> {
        self.committed = vec![0xee; layout.bytes() as usize];
        Ok(())
    }
    fn write(&mut self, _: RegionId, first: u64, bytes: &[u8]) -> Result<WriteOutcome, SinkError> {
        self.call()?;
        self.staged.push((first, bytes.to_vec()));
        Ok(WriteOutcome { bytes: bytes.len() as u64, ..WriteOutcome::default() })
    }
    fn commit(&mut self, _round: u32) -> Result<(), SinkError> {
        self.call()?;
        for (first, bytes) in self.staged.drain(..) {
            let at = first as usize * PAGE;
            self.committed[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        Ok(())
    }
}

fn rounds() -> impl Strategy<Value = Vec<Vec<(u64, u8)>>> {
    prop::collection::vec(prop::collection::vec((0..PAGES, any::<u8>()), 0..40), 0..12)
}

/// Which pages differ between memory and twin.
fn differing(memory: &[u8], twin: &[u8]) -> Vec<u64> {
    let pairs = memory.chunks(PAGE).zip(twin.chunks(PAGE)).enumerate();
    pairs.filter(|(_, (memory, twin))| memory != twin).map(|(page, _)| page as u64).collect()
}

proptest! {
    #[test]
    fn what_came_is_in_the_twin_and_nothing_is_owed(rounds in rounds()) {
        let stop = CancelToken::default();
        let deltas = rounds.len();
        let mut replication = Replication::start(Pushing::new(rounds), Twin::default(), ()).unwrap();
        for _ in 0..=deltas {
            replication.round(&stop).unwrap();
        }
        let mut still = replication.pause_and_settle(&stop).unwrap();
        prop_assert!(still.never_sent(RegionId(0)).is_empty());
        let memory = still.source().memory.clone();
        prop_assert_eq!(differing(&memory, &still.sink().committed), Vec::<u64>::new());
    }

    /// A sink that fails now and then can have its pages again from a shadow.
    #[test]
    fn a_shadow_has_every_page_for_as_often_as_it_is_asked(
        rounds in rounds(),
        fails_at in 1..30usize,
    ) {
        let stop = CancelToken::default();
        let deltas = rounds.len();
        let source = BufferedSource::new(Pushing::new(rounds), stop.clone());
        let twin = Twin { fails_at: Some(fails_at), ..Twin::default() };
        let mut replication = Replication::start(source, twin, ()).unwrap();
        for _ in 0..deltas + 2 {
            let _ = replication.round(&stop);
        }
        let mut still = match replication.pause_and_settle(&stop) {
            Ok(still) => still,
            // It failed just now; the next time it does not.
            Err(RoundError::Sink(_)) => return Ok(()),
            Err(error) => panic!("{error}"),
        };
        prop_assert!(still.source().never_sent(RegionId(0)).is_empty());
        let memory = still.source().inner_mut().memory.clone();
        prop_assert_eq!(differing(&memory, &still.sink().committed), Vec::<u64>::new());
    }

    /// Wherever the sink or the hypervisor fails, a verdict can no more be had.
    #[test]
    fn a_failure_in_the_middle_is_the_end(
        rounds in rounds(),
        fails_at in 1..30usize,
        fails_after in prop::option::of(0..80usize),
    ) {
        let stop = CancelToken::default();
        let deltas = rounds.len();
        let source = Pushing { fails_after, ..Pushing::new(rounds) };
        let twin = Twin { fails_at: Some(fails_at), ..Twin::default() };
        let mut replication = Replication::start(source, twin, ()).unwrap();
        let failed = (0..deltas + 4).any(|_| replication.round(&stop).is_err());
        match replication.pause_and_settle(&stop) {
            Ok(mut still) => {
                prop_assert!(!failed);
                let memory = still.source().memory.clone();
                prop_assert_eq!(differing(&memory, &still.sink().committed), Vec::<u64>::new());
            }
            Err(error) => prop_assert!(!failed || matches!(error, RoundError::Incomplete), "{}", error),
        }
        prop_assert!(!replication.source().paused, "left paused");
    }
}

#[test]
fn a_page_that_never_came_is_named() {
    let stop = CancelToken::default();
    let source = Pushing { withheld: Some(33), ..Pushing::new(vec![]) };
    let mut replication = Replication::start(source, Twin::default(), ()).unwrap();
    replication.round(&stop).unwrap();
    let mut still = replication.pause_and_settle(&stop).unwrap();
    assert_eq!(still.never_sent(RegionId(0)).iter().collect::<Vec<_>>(), [33]);
    let memory = still.source().memory.clone();
    assert_eq!(differing(&memory, &still.sink().committed), [33]);
}

#[test]
fn observers_hear_what_came() {
    #[derive(Default)]
    struct Heard(Vec<(u32, Vec<u64>)>, Vec<RegionRound>);
    impl Observer for Heard {
        fn event(&mut self, event: &ReplicationEvent<'_>) {
            match event {
                ReplicationEvent::Collected { round, named } => {
                    self.0.push((*round, named[0].iter().collect()));
                }
                ReplicationEvent::Shares { of, .. } => self.1.push(of[0]),
                _ => {}
            }
        }
    }
    let stop = CancelToken::default();
    let mut heard = Heard::default();
    let source = Pushing::new(vec![vec![(5, 1), (6, 3), (5, 5), (9, 0)]]);
    let mut replication = Replication::start(source, Twin::default(), &mut heard).unwrap();
    replication.round(&stop).unwrap();
    let round = replication.round(&stop).unwrap();
    assert_eq!((round.dirty_pages, round.sent_pages, round.zero_pages), (3, 4, 1));
    replication.finish().unwrap();
    assert_eq!(heard.0[1], (1, vec![5, 6, 9]));
    assert_eq!((heard.1[1].dirty_pages, heard.1[1].sent_pages), (3, 4));
    let all: PageSet = heard.0[0].1.iter().fold(PageSet::new(PAGES), |mut set, &page| {
        set.insert(page);
        set
    });
    assert_eq!(all.count(), PAGES);
}
