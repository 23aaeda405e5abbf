//! A guest without a hypervisor, in memory: its log names what it writes, and what became of it can be seen
//! from outside.

use crate::PAGES;
use crate::runs::Run;
use crate::twins::TwinKind;
use libtest_mimic::Trial;
use memtwin_mapping::host_page_size;
use memtwin_pages::{Gpa, Layout, PageSet, PageSize, Region, RegionId};
use memtwin_replicate::{
    Collector, GuestControl, GuestState, Provenance, ReadMemory, Source, SourceError, SourceOrigin,
};
use memtwin_report::record::Verdict;
use std::sync::{Arc, Mutex, MutexGuard};

/// How many pages it writes between two collections.
const WRITES: usize = 8;

/// What it is doing.
#[derive(Debug)]
pub(crate) struct State {
    memory: Vec<Vec<u8>>,
    log: Vec<PageSet>,
    random: fastrand::Rng,
    runs: bool,
    ended: bool,
    paused: bool,
    logging: bool,
    written: u64,
    /// How often its log was collected while it ran.
    collections: u32,
    /// In this collection a write to the first page is not named; in the next one it is.
    slip: Option<u32>,
}

/// The guest.
#[derive(Debug)]
pub(crate) struct ScriptedGuest {
    layout: Layout,
    state: Arc<Mutex<State>>,
}

impl Default for ScriptedGuest {
    fn default() -> Self {
        let size = PageSize::new(host_page_size() as u64).unwrap();
        let region =
            |name, gpa, pages| Region::new(name, Gpa(gpa), pages * size.bytes(), size).unwrap();
        let layout = Layout::new(vec![region("low", 0, PAGES), region("high", 1 << 32, 3)]);
        let regions = || layout.iter().map(|(_, region)| region);
        let state = State {
            memory: regions().map(|region| vec![1; region.bytes() as usize]).collect(),
            log: regions().map(|region| PageSet::new(region.pages())).collect(),
            random: fastrand::Rng::with_seed(3),
            runs: false,
            ended: false,
            paused: false,
            logging: false,
            written: 0,
            collections: 0,
            slip: None,
        };
        Self { layout, state: Arc::new(Mutex::new(state)) }
    }
}

impl State {
    fn write(&mut self, region: usize, page: u64, named: bool) {
        let size = host_page_size();
        let at = page as usize * size + self.random.usize(..size / 8) * 8;
        let word = self.random.u64(..).to_le_bytes();
        self.memory[region][at..at + 8].copy_from_slice(&word);
        self.written += 1;
        if self.logging && named {
            self.log[region].insert(page);
        }
    }
}

impl ScriptedGuest {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Source for ScriptedGuest {
    fn layout(&self) -> &Layout {
        &self.layout
    }
    fn start_logging(&mut self) -> Result<(), SourceError> {
        self.state().logging = true;
        Ok(())
    }
    fn collect(&mut self, into: &mut dyn Collector) -> Result<(), SourceError> {
        let state = &mut *self.state();
        if state.runs && !state.paused {
            state.collections += 1;
            for _ in 0..WRITES {
                let region = state.random.usize(..state.memory.len());
                // Not the first page: that is the slip's.
                let pages = self.layout.region(RegionId(region)).pages();
                let page = state.random.u64(1..pages);
                state.write(region, page, true);
            }
            match state.slip {
                Some(at) if at == state.collections => state.write(0, 0, false),
                Some(at) if at + 1 == state.collections => state.write(0, 0, true),
                _ => {}
            }
        }
        for (at, log) in state.log.iter_mut().enumerate() {
            into.pages(RegionId(at), log.words());
            log.clear();
        }
        Ok(())
    }
    fn read(&mut self, region: RegionId, offset: u64, into: &mut [u8]) -> Result<(), SourceError> {
        let from = offset as usize;
        into.copy_from_slice(&self.state().memory[region.0][from..from + into.len()]);
        Ok(())
    }
    fn pause(&mut self) -> Result<(), SourceError> {
        self.state().paused = true;
        Ok(())
    }
    fn confirm_paused(&mut self) -> Result<(), SourceError> {
        match self.state().paused {
            true => Ok(()),
            false => Err(SourceError::Guest("it is not paused".to_owned())),
        }
    }
    fn resume(&mut self) -> Result<(), SourceError> {
        self.state().paused = false;
        Ok(())
    }
    fn stop_logging(&mut self) -> Result<(), SourceError> {
        self.state().logging = false;
        Ok(())
    }
    fn guest(&mut self) -> Result<GuestState, SourceError> {
        Ok(if self.state().ended { GuestState::Stopped } else { GuestState::Running })
    }
}

impl GuestControl for ScriptedGuest {
    fn start(&mut self) {
        self.state().runs = true;
    }
    fn stop(&mut self) {
        let mut state = self.state();
        (state.runs, state.ended) = (false, true);
    }
    fn pace(&mut self, _pages_per_second: Option<u64>) {}
    fn written(&self) -> u64 {
        self.state().written
    }
}

impl ReadMemory for ScriptedGuest {
    type Memory = Vec<u8>;
    fn memory(&self, region: RegionId) -> Vec<u8> {
        self.state().memory[region.0].clone()
    }
}

impl Provenance for ScriptedGuest {
    fn provenance(&self) -> SourceOrigin {
        SourceOrigin { source: "scripted".to_owned(), ..SourceOrigin::default() }
    }
}

/// What only this guest can show.
pub(crate) fn trials(twin: TwinKind) -> [Trial; 2] {
    let test = |name: &str, check: fn(TwinKind)| {
        Trial::test(format!("scripted::{twin:?}::{name}"), move || {
            check(twin);
            Ok(())
        })
    };
    [
        test("a_guest_is_left_as_it_was_found", a_guest_is_left_as_it_was_found),
        test("a_loss_that_a_later_write_covers_stays", a_loss_that_a_later_write_covers_stays),
    ]
}

/// It runs, and its log is off, however the session ended.
fn a_guest_is_left_as_it_was_found(twin: TwinKind) {
    let runs = [
        Run::default(),
        Run { still_every: Some(2), ..Run::default() },
        Run { interrupt_after: Some(0), ..Run::default() },
        // In a stop, where the guest is paused.
        Run { interrupt_after: Some(4), still_every: Some(3), ..Run::default() },
        Run { fail_round: Some(1), ..Run::default() },
        Run { fail_round: Some(4), still_every: Some(3), ..Run::default() },
    ];
    for run in runs {
        let guest = ScriptedGuest::default();
        let state = Arc::clone(&guest.state);
        run.on(guest, twin);
        let state = state.lock().unwrap();
        assert!(!state.paused && !state.logging, "{state:?}");
    }
}

/// One write is not named, and the judge looks before the next one of that page is.
fn a_loss_that_a_later_write_covers_stays(twin: TwinKind) {
    let lost = |still_every, slip| {
        let guest = ScriptedGuest::default();
        guest.state().slip = slip;
        let done = Run { still_every, ..Run::default() }.on(guest, twin);
        (done.case.verdict(), done.case.lost().len())
    };
    if twin == TwinKind::Discard {
        return assert_eq!(lost(Some(1), Some(3)).0, Verdict::Skipped);
    }
    assert_eq!(lost(Some(1), Some(3)), (Verdict::Differs, 1));
    assert_eq!(lost(Some(1), None), (Verdict::Identical, 0));
    // Seen by no stop: that is what the stops between are for.
    assert_eq!(lost(None, Some(3)), (Verdict::Identical, 0));
}
