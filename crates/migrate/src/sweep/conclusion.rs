//! What a sweep comes to: every move that arrived has its memory judged, the guest and its disk are
//! judged over all of them; whether a move converged is a finding, and no verdict.

use super::load::missed;
use super::run::SweepRun;
use super::{GIGABIT, search::IntervalSearch, table};
use crate::driver::{GuestLocation, MigrationOutcome};
use crate::experiment::BEAT_INTERVAL;
use crate::guest::console::joined;
use crate::guest::heartbeat::{self, Heartbeat};
use crate::hosts::environment::{NO_NETWORK, NetworkResult};
use crate::report::MigrationReport;
use crate::verdict::clocks;
use crate::verdict::judge::{self, GuestReport};
use memtwin_lab::Progress;
use memtwin_pages::Layout;
use memtwin_report::Failure;
use memtwin_report::record::{Achieved, Smallest, Sweep};
use memtwin_report::{Case, CaseBuilder};

impl SweepRun<'_> {
    /// Ends it, and judges what is to be judged.
    ///
    /// Errors: what is left on a host can't be obtained.
    pub(super) fn conclude(
        mut self,
        progress: &mut dyn Progress,
    ) -> Result<MigrationReport, Failure> {
        let network = self.experiment.network(progress)?;
        let account = match self.hops.last().map(|(_, hop)| &hop.moved.location) {
            Some(GuestLocation::Nowhere(why)) => GuestReport {
                trouble: Some(format!("the guest runs nowhere: {why}")),
                ..GuestReport::default()
            },
            _ => {
                let account = self.experiment.told(&self.here.console, progress);
                self.heard.push(self.here.console.heard());
                account
            }
        };
        let sweep = self.sweep();
        let lines = joined(&self.heard);
        let beats = heartbeat::heartbeats(&lines);
        let name = self.experiment.environment.name.clone();
        let trial =
            |part: &str| CaseBuilder::new(format!("migrate/{part}"), &name, &Layout::default());
        // Without load and limit it must move; else nothing was swept.
        let not_converged = sweep.cells.is_empty();
        let closing = table::lines(&sweep);
        let mut found = MigrationReport { closing, not_converged, ..MigrationReport::default() };
        let mut pulses: Vec<(&MigrationOutcome, _)> = Vec::new();
        for (n, (of, hop)) in (1..).zip(&self.hops) {
            let until = self.hops.get(n).map(|(_, next)| next.moved.began);
            let until = |beat: &&Heartbeat| until.is_none_or(|until| beat.at < until);
            let own: Vec<Heartbeat> = beats.iter().filter(until).copied().collect();
            pulses.push((
                &hop.moved,
                heartbeat::stats(&own, hop.moved.began, hop.moved.resumed, BEAT_INTERVAL),
            ));
            found.cases.extend(judge::ram(&format!("migrate/ram/{of}"), &name, &hop.moved));
        }
        // Its QEMU writes to the disk no more.
        self.here.end();
        progress.say("checking the guest's disk");
        let environment = &*self.experiment.environment;
        found.cases.push(judge::disk(environment, trial("disk"), &lines, &mut found.closing));
        let mut said = Vec::new();
        let guest = judge::guest(trial("guest"), &pulses, &account, &mut said);
        // A line for each move is too much of a good thing.
        found.closing.extend(said.into_iter().filter(|_| !guest.passed()));
        found.cases.push(guest);
        found.cases.push(match &network {
            None => Case::skipped("migrate/network", &name, NO_NETWORK),
            Some(NetworkResult { wrong: Some(why), .. }) => trial("network").differs(why),
            Some(NetworkResult { unknown: Some(why), .. }) => {
                trial("network").inconclusive(why, Vec::new())
            }
            Some(_) => trial("network").judged(Vec::new(), Default::default()),
        });
        found.closing.extend(network.into_iter().flat_map(|network| network.lines));
        if self.experiment.config.keep {
            found.closing.push(format!("kept: {}", environment.folder.display()));
        }
        found.sweep = Some(sweep);
        Ok(found)
    }

    fn sweep(&mut self) -> Sweep {
        let smallest = self.search.as_ref().map(|search| self.smallest(search));
        Sweep {
            limited_by: self.link.name().to_owned(),
            downtime_limit_us: clocks::micros(self.experiment.downtime_limit()),
            timeout_us: clocks::micros(self.experiment.config.timeout),
            load_pages: self.work.pages,
            load_dirty: self.work.dirty,
            unloaded: self.unloaded,
            loads: std::mem::take(&mut self.loads),
            cells: std::mem::take(&mut self.cells),
            smallest,
        }
    }

    fn smallest(&self, search: &IntervalSearch) -> Smallest {
        let (low_ms, high_ms) = search.bounds();
        let why = search.below().map(|below| self.why(below));
        let interval_ms = search.smallest();
        Smallest { bits_per_second: GIGABIT.0, low_ms, high_ms, interval_ms, why }
    }
    /// Why an interval is not the smallest.
    fn why(&self, interval: u64) -> String {
        let load = self.loads.iter().find(|load| load.interval_ms == interval);
        let mut cells = self.cells.iter().filter(|cell| cell.interval_ms == interval);
        let cell = cells.find(|cell| cell.bits_per_second == GIGABIT.0);
        let short = |achieved: &Achieved| format!("missed {:.0} %", missed(achieved) * 100.0);
        match (load, cell) {
            (_, Some(cell)) if !cell.observed.moved => format!("{interval} ms did not converge"),
            (Some(load), _) if !load.kept => {
                format!("every {interval} ms the load {} of its intervals", short(&load.achieved))
            }
            (_, Some(cell)) => format!(
                "every {interval} ms the load {} of its intervals while it moved",
                short(&cell.observed.load)
            ),
            _ => format!("{interval} ms was not tried"),
        }
    }
}
