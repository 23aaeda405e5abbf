//! The engine against a model: a guest whose every write is scripted, a log and a twin that fail
//! on cue. Whatever fails, and whenever, the twin ends identical; and it does not when the log lies.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

use memtwin_pages::{Gpa, Layout, PageSet, PageSize, Region, RegionId};
use memtwin_replicate::{
    CancelToken, Collector, GuestState, Replication, Retry, RoundError, Sink, SinkError, Source,
    SourceError, WriteOutcome,
};
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

const PAGE: u64 = 512;
const PAGES: [u64; 2] = [70, 9];

/// One thing that may happen while the engine runs.
#[derive(Clone, Debug)]
enum Step {
    /// The guest writes a byte of a region's page.
    Write { region: usize, page: u64, value: u8 },
    /// The next call to this side fails (half-way, where there is a half).
    Fail,
}

fn steps() -> impl Strategy<Value = VecDeque<Vec<Step>>> {
    let write = (0..2usize, 0..1000u64, 0..200u8).prop_map(|(region, page, value)| Step::Write {
        region,
        page: page % PAGES[region],
        value,
    });
    let step = prop_oneof![6 => write, 1 => Just(Step::Fail)];
    prop::collection::vec(prop::collection::vec(step, 0..6), 0..120).prop_map(VecDeque::from)
}

/// The guest and its log. Each call takes one entry of the script, so writes race with everything.
struct Guest {
    layout: Layout,
    memory: Vec<Vec<u8>>,
    log: Vec<PageSet>,
    logging: bool,
    paused: bool,
    /// Whether somebody else lets it run while it is paused.
    ran_on: bool,
    lies_about: Option<(usize, u64)>,
    script: VecDeque<Vec<Step>>,
}

impl Guest {
    fn new(script: VecDeque<Vec<Step>>) -> Self {
        let size = PageSize::new(PAGE).unwrap();
        let region = |i: usize| {
            Region::new(format!("r{i}"), Gpa(0x1000_0000 * i as u64), PAGES[i] * PAGE, size)
        };
        Self {
            layout: Layout::new(vec![region(0).unwrap(), region(1).unwrap()]),
            memory: PAGES.iter().map(|&pages| vec![7; (pages * PAGE) as usize]).collect(),
            log: PAGES.iter().map(|&pages| PageSet::new(pages)).collect(),
            logging: false,
            paused: false,
            ran_on: false,
            lies_about: None,
            script,
        }
    }

    /// Lets the scripted things happen; says whether this call is to fail.
    fn happen(&mut self) -> bool {
        let mut fail = false;
        if self.paused {
            return fail;
        }
        for step in self.script.pop_front().unwrap_or_default() {
            match step {
                Step::Write { region, page, value } => {
                    self.memory[region][(page * PAGE) as usize + usize::from(value)] = value;
                    if self.logging && self.lies_about != Some((region, page)) {
                        self.log[region].insert(page);
                    }
                }
                Step::Fail => fail = true,
            }
        }
        fail
    }
}

impl Source for Guest {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn start_logging(&mut self) -> Result<(), SourceError> {
        self.happen();
        self.logging = true;
        Ok(())
    }

    fn collect(&mut self, into: &mut dyn Collector) -> Result<(), SourceError> {
        for region in 0..PAGES.len() {
            let fail = self.happen();
            into.pages(RegionId(region), self.log[region].words());
            self.log[region].clear();
            if fail {
                return Err(SourceError::Log("scripted".into()));
            }
        }
        self.happen();
        Ok(())
    }

    fn read(&mut self, region: RegionId, offset: u64, into: &mut [u8]) -> Result<(), SourceError> {
        let fail = self.happen();
        let from = offset as usize;
        into.copy_from_slice(&self.memory[region.0][from..from + into.len()]);
        self.happen();
        if fail { Err(SourceError::Memory("scripted".into())) } else { Ok(()) }
    }

    fn pause(&mut self) -> Result<(), SourceError> {
        if self.happen() {
            return Err(SourceError::Guest("scripted".into()));
        }
        self.paused = true;
        Ok(())
    }

    fn confirm_paused(&mut self) -> Result<(), SourceError> {
        if self.ran_on { Err(SourceError::Guest("it ran".into())) } else { Ok(()) }
    }

    fn resume(&mut self) -> Result<(), SourceError> {
        self.paused = false;
        Ok(())
    }

    fn stop_logging(&mut self) -> Result<(), SourceError> {
        self.logging = false;
        Ok(())
    }

    fn guest(&mut self) -> Result<GuestState, SourceError> {
        Ok(GuestState::Running)
    }
}

/// A twin that forgets what it has not committed, as one behind a broken connection does.
#[derive(Clone, Default)]
struct Twin {
    committed: Rc<RefCell<Vec<Vec<u8>>>>,
    staged: Vec<(usize, u64, Vec<u8>)>,
    fails: VecDeque<bool>,
}

impl Sink for Twin {
    fn open(&mut self, layout: &Layout) -> Result<(), SinkError> {
        *self.committed.borrow_mut() =
            layout.iter().map(|(_, region)| vec![0; region.bytes() as usize]).collect();
        Ok(())
    }

    fn write(
        &mut self,
        region: RegionId,
        first: u64,
        bytes: &[u8],
    ) -> Result<WriteOutcome, SinkError> {
        if self.fails.pop_front().unwrap_or(false) {
            self.staged.clear();
            return Err(SinkError::new("scripted"));
        }
        self.staged.push((region.0, first, bytes.to_vec()));
        Ok(WriteOutcome { bytes: bytes.len() as u64, ..WriteOutcome::default() })
    }

    fn commit(&mut self, _round: u32) -> Result<(), SinkError> {
        if self.fails.pop_front().unwrap_or(false) {
            self.staged.clear();
            return Err(SinkError::new("scripted"));
        }
        let mut committed = self.committed.borrow_mut();
        for (region, first, bytes) in self.staged.drain(..) {
            let at = (first * PAGE) as usize;
            committed[region][at..at + bytes.len()].copy_from_slice(&bytes);
        }
        Ok(())
    }
}

/// A twin behind a connection: what is committed is on its way, and lost when that breaks.
#[derive(Clone, Default)]
struct Remote {
    arrived: Twin,
    on_the_way: Vec<Vec<(usize, u64, Vec<u8>)>>,
    lost: Vec<(usize, u64)>,
    breaks: VecDeque<bool>,
    /// A fault: what was lost stays lost.
    forgets: bool,
}

impl Remote {
    fn breaks(&mut self) -> Result<(), SinkError> {
        if !self.breaks.pop_front().unwrap_or(false) {
            return Ok(());
        }
        // What arrives before it breaks is up to chance; here it is every second round.
        let keep = self.on_the_way.len() / 2;
        self.arrive(keep);
        if !self.forgets {
            let lost = self.on_the_way.iter().flatten();
            self.lost.extend(lost.map(|(region, first, _)| (*region, *first)));
        }
        self.on_the_way.clear();
        self.arrived.staged.clear();
        Err(SinkError::new(Retry))
    }

    fn arrive(&mut self, rounds: usize) {
        for round in self.on_the_way.drain(..rounds) {
            self.arrived.staged = round;
            self.arrived.commit(0).unwrap();
        }
    }
}

impl Sink for Remote {
    fn open(&mut self, layout: &Layout) -> Result<(), SinkError> {
        self.arrived.open(layout)
    }

    fn write(
        &mut self,
        region: RegionId,
        first: u64,
        bytes: &[u8],
    ) -> Result<WriteOutcome, SinkError> {
        self.breaks()?;
        // A page each, so that it can be named.
        for (page, bytes) in (first..).zip(bytes.chunks(PAGE as usize)) {
            self.arrived.write(region, page, bytes)?;
        }
        Ok(WriteOutcome::default())
    }

    fn commit(&mut self, _round: u32) -> Result<(), SinkError> {
        self.breaks()?;
        self.on_the_way.push(std::mem::take(&mut self.arrived.staged));
        Ok(())
    }

    fn settle(&mut self) -> Result<(), SinkError> {
        self.breaks()?;
        self.arrive(self.on_the_way.len());
        Ok(())
    }

    fn take_undelivered(&mut self, into: &mut dyn Collector) {
        self.lost.drain(..).for_each(|(region, page)| into.page(RegionId(region), page));
    }
}

/// Retries until the guest stands still, then returns its memory and what the twin has committed.
fn replicate(guest: Guest, twin: Twin) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let committed = Rc::clone(&twin.committed);
    replicate_to(guest, twin, &committed)
}

fn replicate_to<K: Sink>(
    guest: Guest,
    twin: K,
    committed: &RefCell<Vec<Vec<u8>>>,
) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let stop = CancelToken::default();
    let mut replication = Replication::start(guest, twin, ()).unwrap();
    while !replication.source().script.is_empty() {
        // An error is a retry, as a caller would do after a broken connection.
        let _ = replication.round(&stop);
    }
    let memory = loop {
        let attempt =
            replication.pause_and_settle(&stop).map(|mut still| still.source().memory.clone());
        assert!(!replication.source().paused, "left paused after {attempt:?}");
        match attempt {
            Ok(memory) => break memory,
            Err(RoundError::NeverClean { .. }) => panic!("a paused guest that writes"),
            Err(_) => {}
        }
    };
    replication.finish().unwrap();
    let committed = committed.borrow().clone();
    (memory, committed)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_twin_ends_identical(
        script in steps(),
        fails in prop::collection::vec(prop::bool::weighted(0.15), 0..200),
    ) {
        let twin = Twin { fails: fails.into(), ..Twin::default() };
        let (memory, committed) = replicate(Guest::new(script), twin);
        prop_assert!(memory == committed);
    }

    #[test]
    fn a_twin_behind_a_connection_that_breaks_ends_identical(
        script in steps(),
        breaks in prop::collection::vec(prop::bool::weighted(0.1), 0..200),
    ) {
        let twin = Remote { breaks: breaks.into(), ..Remote::default() };
        let committed = Rc::clone(&twin.arrived.committed);
        let (memory, committed) = replicate_to(Guest::new(script), twin, &committed);
        prop_assert!(memory == committed);
    }

    /// The control: the same machinery, with a log that never names one page which is written.
    #[test]
    fn and_differs_in_the_one_page_that_the_log_keeps_back(script in steps(), page in 0..PAGES[1]) {
        let mut guest = Guest::new(script);
        guest.lies_about = Some((1, page));
        // Written once more at the end, when only the log could tell.
        let last = Step::Write { region: 1, page, value: 200 };
        guest.script.extend(std::iter::repeat_n(vec![], 300));
        guest.script.push_back(vec![last]);
        let (memory, committed) = replicate(guest, Twin::default());
        let differing: Vec<(usize, usize)> = (0..2)
            .flat_map(|region| (0..PAGES[region] as usize).map(move |page| (region, page)))
            .filter(|&(region, page)| {
                let bytes = page * PAGE as usize..(page + 1) * PAGE as usize;
                memory[region][bytes.clone()] != committed[region][bytes]
            })
            .collect();
        prop_assert_eq!(differing, vec![(1, page as usize)]);
    }
}

/// The control: what a connection loses and the sink does not give back is missing.
#[test]
fn a_sink_that_forgets_what_was_lost_is_found_out() {
    // Pre-copy is one round on its way; the next call to the sink loses it.
    let breaks = [vec![false; 3], vec![true]].concat();
    for (forgets, identical) in [(false, true), (true, false)] {
        let twin = Remote { forgets, breaks: breaks.clone().into(), ..Remote::default() };
        let committed = Rc::clone(&twin.arrived.committed);
        let (memory, committed) = replicate_to(Guest::new(VecDeque::new()), twin, &committed);
        assert_eq!(memory == committed, identical);
    }
}

/// What was compared of a guest that ran meanwhile is not handed out, whatever it is.
#[test]
fn a_comparison_counts_only_if_the_guest_stood_still_all_the_while() {
    let mut replication =
        Replication::start(Guest::new(VecDeque::new()), Twin::default(), ()).unwrap();
    let mut still = replication.pause_and_settle(&CancelToken::default()).unwrap();
    assert_eq!(still.compare(|still| still.source().memory.len()).unwrap(), PAGES.len());
    let error = still.compare(|still| still.source().ran_on = true).unwrap_err();
    assert!(matches!(error, SourceError::Guest(_)), "{error}");
    still.source().ran_on = false;
    still.compare(|_| ()).unwrap();
}

#[test]
fn an_interrupt_keeps_what_is_owed_and_dropping_switches_off() {
    struct Seen(Rc<RefCell<(bool, bool)>>, Guest);
    impl Drop for Seen {
        fn drop(&mut self) {
            *self.0.borrow_mut() = (self.1.logging, self.1.paused);
        }
    }
    impl Source for Seen {
        fn layout(&self) -> &Layout {
            self.1.layout()
        }
        fn start_logging(&mut self) -> Result<(), SourceError> {
            self.1.start_logging()
        }
        fn collect(&mut self, into: &mut dyn Collector) -> Result<(), SourceError> {
            self.1.collect(into)
        }
        fn read(
            &mut self,
            region: RegionId,
            offset: u64,
            into: &mut [u8],
        ) -> Result<(), SourceError> {
            self.1.read(region, offset, into)
        }
        fn pause(&mut self) -> Result<(), SourceError> {
            self.1.pause()
        }
        fn confirm_paused(&mut self) -> Result<(), SourceError> {
            self.1.confirm_paused()
        }
        fn resume(&mut self) -> Result<(), SourceError> {
            self.1.resume()
        }
        fn stop_logging(&mut self) -> Result<(), SourceError> {
            self.1.stop_logging()
        }
        fn guest(&mut self) -> Result<GuestState, SourceError> {
            self.1.guest()
        }
    }

    let after = Rc::new(RefCell::new((true, true)));
    let source = Seen(Rc::clone(&after), Guest::new(VecDeque::new()));
    let stop = CancelToken::default();
    let mut replication = Replication::start(source, Twin::default(), ()).unwrap();
    replication.round(&stop).unwrap();
    stop.set();
    assert!(matches!(replication.pause_and_settle(&stop), Err(RoundError::Interrupted)));
    drop(replication);
    assert_eq!(*after.borrow(), (false, false), "(logging, paused) when all is over");
}
