//! The course of a sweep: a guest that moves to and fro, first without load and limit, then through the
//! grid, then in search of the smallest interval.

use super::bandwidth::BandwidthLimit;
use super::load::{LoadSpec, RunningLoad, kept};
use super::search::{IntervalSearch, SweepAttempt};
use super::{GIGABIT, attempt};
use crate::bit_rate::BitRate;
use crate::config::{GuestLoad, MigrationConfig, SweepConfig};
use crate::driver::GuestLocation;
use crate::experiment::{Hop, MigrationExperiment};
use crate::forecast::curve::Curve;
use crate::forecast::{ForecastInput, forecast};
use crate::guest::console::ConsoleOutput;
use crate::hosts::environment::Environment;
use crate::report::MigrationReport;
use crate::side::Side;
use crate::verdict::clocks;
use memtwin_lab::Progress;
use memtwin_replicate::CancelToken;
use memtwin_report::Failure;
use memtwin_report::record::{CurvePoint, SweepCell, SweepLoad, Unloaded};
use std::time::Duration;

/// How long a load runs before it is measured, and until it has told of the second in which it moved.
const SETTLE: Duration = Duration::from_millis(1200);
/// The interval of a load that rests, in milliseconds.
const REST: u64 = 3_600_000;
/// QEMU's own downtime limit.
const LIMIT: Duration = Duration::from_millis(300);

/// A sweep that is under way.
pub(super) struct SweepRun<'c> {
    pub(super) experiment: MigrationExperiment<'c>,
    swept: &'c SweepConfig,
    pub(super) link: BandwidthLimit,
    pub(super) work: LoadSpec,
    /// The side that has the guest, and how often it has arrived somewhere.
    pub(super) here: Side,
    pub(super) arrivals: usize,
    /// What was said on consoles that are closed.
    pub(super) heard: Vec<ConsoleOutput>,
    /// Every move that was tried, by the name of its case.
    pub(super) hops: Vec<(String, Hop)>,
    pub(super) unloaded: Unloaded,
    running: Option<(RunningLoad, Curve)>,
    pub(super) loads: Vec<SweepLoad>,
    pub(super) cells: Vec<SweepCell>,
    pub(super) search: Option<IntervalSearch>,
    /// Nothing more can be tried.
    pub(super) over: bool,
}

/// Errors for what can't be swept: said before anything is brought up.
pub(crate) fn check(load: &GuestLoad) -> Result<(), Failure> {
    match load {
        GuestLoad::Scaled => Ok(()),
        GuestLoad::Idle => Err(Failure::usage("--sweep needs a load")),
        GuestLoad::Given(loads) => match &loads[..] {
            [one] => LoadSpec::parse(one).map(drop),
            _ => Err(Failure::usage("--sweep takes one --load")),
        },
    }
}

/// Sweeps.
pub(crate) fn run(
    config: &MigrationConfig,
    swept: &SweepConfig,
    environment: &mut Environment,
    stop: &CancelToken,
    progress: &mut dyn Progress,
) -> Result<MigrationReport, Failure> {
    let loads = MigrationExperiment { config, environment: &mut *environment, stop }.loads();
    let work = LoadSpec::parse(loads.first().map(String::as_str).unwrap_or_default())?;
    // The loads are started by the sweep itself.
    let own = MigrationConfig { load: GuestLoad::Idle, ..config.clone() };
    let link = BandwidthLimit::of(environment);
    let experiment = MigrationExperiment { config: &own, environment, stop };
    let here = experiment.boot(progress)?;
    experiment.load(&here.console, progress)?;
    if let Some(network) = &mut experiment.environment.network {
        network.begin(progress)?;
    }
    let mut sweep = SweepRun {
        experiment,
        swept,
        link,
        work,
        here,
        arrivals: 0,
        heard: Vec::new(),
        hops: Vec::new(),
        unloaded: Unloaded::default(),
        running: None,
        loads: Vec::new(),
        cells: Vec::new(),
        search: None,
        over: false,
    };
    let swept = sweep.unloaded(progress).and_then(|()| sweep.grid(progress));
    // What was found until we were told to stop is told.
    match swept.and_then(|()| sweep.search(progress)) {
        Err(error) if !stop.is_set() => return Err(error),
        _ => {}
    }
    if let Some((running, _)) = sweep.running.take().filter(|_| !sweep.is_lost()) {
        // A guest that does not answer any more tells so below.
        let _ = running.stop(&sweep.here.console, progress);
    }
    sweep.conclude(progress)
}

impl SweepRun<'_> {
    fn unloaded(&mut self, progress: &mut dyn Progress) -> Result<(), Failure> {
        // Its pages are there and rest: they are what travels first, and what shows the link at its best.
        let running =
            self.work.resting().start("rest".to_owned(), REST, &self.here.console, progress)?;
        progress.say(
            "moving the guest with a load that rests and no limit, to see what the link carries",
        );
        let carried = self.attempt("unloaded".to_owned(), None, progress)?;
        if !self.is_lost() {
            running.stop(&self.here.console, progress)?;
        }
        let Some((_, hop)) = self.hops.last() else { return Ok(()) };
        if hop.moved.location != GuestLocation::Destination {
            self.over = true;
            return Ok(());
        }
        let first = hop.moved.progress.rounds.first().copied().unwrap_or_default();
        let us = clocks::micros(first.took);
        self.unloaded = Unloaded { bytes_per_second: carried, bytes: first.bytes, us };
        let carries = BitRate(carried.saturating_mul(8));
        progress.say(&format!("unloaded: {:.1} MB, {carries} at best", first.bytes as f64 / 1e6));
        Ok(())
    }

    fn grid(&mut self, progress: &mut dyn Progress) -> Result<(), Failure> {
        for interval in distinct(&self.swept.intervals_ms) {
            for rate in distinct(&self.swept.bandwidths) {
                if self.is_over() {
                    return Ok(());
                }
                self.cell(interval, rate, progress)?;
            }
        }
        Ok(())
    }

    fn search(&mut self, progress: &mut dyn Progress) -> Result<(), Failure> {
        let Some((low, high)) = self.swept.bounds_ms else { return Ok(()) };
        let mut search = IntervalSearch::new(low, high);
        let gigabit = |cell: &&SweepCell| cell.bits_per_second == GIGABIT.0;
        for cell in self.cells.iter().filter(gigabit) {
            search.enter(cell.interval_ms, self.came(cell));
        }
        while let Some(interval) = search.next().filter(|_| !self.is_over()) {
            self.cell(interval, GIGABIT, progress)?;
            let Some(cell) = self.cells.last() else { return Ok(()) };
            search.enter(interval, self.came(cell));
        }
        self.search = (!self.is_over()).then_some(search);
        Ok(())
    }

    /// What came of a cell, as far as its load was the one that was asked for, before and meanwhile.
    fn came(&self, cell: &SweepCell) -> SweepAttempt {
        let load = self.loads.iter().find(|load| load.interval_ms == cell.interval_ms);
        let before = load.is_some_and(|load| load.kept);
        match cell.observed.moved {
            true if before && kept(&cell.observed.load) => SweepAttempt::Converged,
            // Whether it kept its intervals or not: one that did would move no sooner.
            false => SweepAttempt::Not,
            true => SweepAttempt::NotThatLoad,
        }
    }

    /// One load over one link: predicted, then tried.
    fn cell(
        &mut self,
        interval: u64,
        rate: BitRate,
        progress: &mut dyn Progress,
    ) -> Result<(), Failure> {
        self.run_load(interval, progress)?;
        let carries = self.carries();
        let Some((running, curve)) = &mut self.running else { return Ok(()) };
        let config = self.experiment.config;
        let asked = ForecastInput {
            link: rate.bytes().min(carries) as f64,
            first: self.unloaded.bytes,
            first_takes: Duration::from_micros(self.unloaded.us),
            downtime_limit: self.experiment.downtime_limit(),
            timeout: config.timeout,
        };
        let foretold = forecast(curve, &asked);
        progress.say(&format!("every {interval} ms over {rate}: foretold: {foretold}"));
        running.achieved(&self.here.console, Duration::ZERO, progress)?;
        let name = format!("interval={interval}ms/bandwidth={}", rate.short());
        let carried = self.attempt(name, Some(rate), progress)?;
        let Some((_, hop)) = self.hops.last() else { return Ok(()) };
        let mut load = Default::default();
        if !self.is_lost() {
            // It tells of a second once that is over.
            std::thread::sleep(SETTLE);
            if let Some((running, _)) = &mut self.running {
                load = running.achieved(&self.here.console, hop.moved.pause, progress)?;
            }
        }
        let observed = attempt::observed(&hop.moved, carried, load);
        progress.say(&format!("observed: {}", super::table::observed(&observed)));
        let whereabouts = &hop.moved.location;
        self.cells.push(attempt::cell(interval, rate, foretold, whereabouts, observed));
        Ok(())
    }

    /// The most that the link has carried in any move so far.
    fn carries(&self) -> u64 {
        let carried = self.cells.iter().map(|cell| cell.observed.bytes_per_second);
        carried.chain([self.unloaded.bytes_per_second]).max().unwrap_or_default()
    }

    /// Has this load run in the guest, and its curve measured.
    fn run_load(&mut self, interval: u64, progress: &mut dyn Progress) -> Result<(), Failure> {
        if self.running.as_ref().is_some_and(|(running, _)| running.interval == interval) {
            return Ok(());
        }
        if let Some((running, _)) = self.running.take() {
            running.stop(&self.here.console, progress)?;
        }
        let name = format!("sweep{}", self.loads.len());
        progress.say(&format!(
            "guest: dirtyram {} {} {interval}; measuring its dirty-rate curve",
            self.work.pages, self.work.dirty
        ));
        let mut running = self.work.start(name, interval, &self.here.console, progress)?;
        std::thread::sleep(SETTLE);
        let memory = self.experiment.environment.source.guest.memory << 20;
        let limit = self.experiment.downtime_limit();
        let mut measure = |progress: &mut dyn Progress| -> Result<_, Failure> {
            let curve = Curve::measure(&mut self.here.qmp, memory, limit);
            let curve = curve.map_err(Failure::environment)?;
            Ok((curve, running.achieved(&self.here.console, Duration::ZERO, progress)?))
        };
        let (mut curve, mut achieved) = measure(progress)?;
        if !kept(&achieved) {
            // Once more: on a busy machine it may have been held up.
            (curve, achieved) = measure(progress)?;
        }
        let points = curve.points().iter();
        self.loads.push(SweepLoad {
            interval_ms: interval,
            achieved,
            kept: kept(&achieved),
            curve: points
                .map(|point| CurvePoint { us: clocks::micros(point.within), bytes: point.bytes })
                .collect(),
        });
        self.running = Some((running, curve));
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.over || self.experiment.stop.is_set()
    }

    /// Whether the guest runs nowhere.
    pub(super) fn is_lost(&self) -> bool {
        let last = self.hops.last().map(|(_, hop)| &hop.moved.location);
        matches!(last, Some(GuestLocation::Nowhere(_)))
    }
}

/// Takes each value once, in the order given.
fn distinct<T: Copy + PartialEq>(values: &[T]) -> Vec<T> {
    let mut once: Vec<T> = Vec::new();
    for value in values {
        if !once.contains(value) {
            once.push(*value);
        }
    }
    once
}

impl MigrationExperiment<'_> {
    /// How long the guest may stand still at the end.
    pub(super) fn downtime_limit(&self) -> Duration {
        self.config.downtime_limit.unwrap_or(LIMIT)
    }
}
