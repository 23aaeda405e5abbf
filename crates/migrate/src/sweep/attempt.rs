//! A move of a sweep: it is tried, and what came of it is held against what was predicted.

use super::bandwidth::BestSecond;
use super::run::SweepRun;
use crate::bit_rate::BitRate;
use crate::driver::{FailureReason, GuestLocation, MigrationEvent, MigrationOutcome, migrate};
use crate::forecast::Forecast;
use crate::side::Side;
use crate::verdict::clocks::micros;
use memtwin_lab::Progress;
use memtwin_report::Failure;
use memtwin_report::record::{Achieved, Observed, Predicted, SweepCell};
use std::time::{Duration, Instant};

/// What the move without load may take at least, which every forecast needs.
const UNLOADED: Duration = Duration::from_secs(400);

/// The collections of the dirty log that are no round of a move: the first, of all pages, and the one
/// after the guest was stopped.
const FIRST: u64 = 1;
const LAST: u64 = 1;

impl SweepRun<'_> {
    /// Moves the guest, or tries to. What the link carried in its best second, in bytes.
    pub(super) fn attempt(
        &mut self,
        name: String,
        rate: Option<BitRate>,
        progress: &mut dyn Progress,
    ) -> Result<u64, Failure> {
        let n = self.arrivals + 1;
        let side = format!("sweep{}", self.hops.len() + 1);
        let mut there = self.experiment.incoming_as(&side, n, progress)?;
        let mut settings = self.experiment.config.settings(self.experiment.target(n));
        self.link.limit(rate, &mut settings.parameters, progress)?;
        if rate.is_none() {
            settings.timeout = settings.timeout.max(UNLOADED);
        }
        let mut best = BestSecond::default();
        let mut hear = |event: MigrationEvent<'_>, _: &mut Side, _: &mut Side| {
            if let MigrationEvent::Look(told) = event
                && let Some(ram) = told.ram
            {
                best.see(Instant::now(), ram.transferred);
            }
        };
        let moved = migrate(&mut self.here, &mut there, &settings, self.experiment.stop, &mut hear);
        let moved = moved.map_err(Failure::environment)?;
        let hop = self.experiment.arrived(n, moved, &mut there, progress)?;
        match &hop.moved.location {
            GuestLocation::Destination => {
                self.arrivals += 1;
                self.heard.push(self.here.console.heard());
                std::mem::replace(&mut self.here, there).end();
            }
            GuestLocation::Source(why) => {
                self.over |= *why == FailureReason::Interrupted;
                there.end();
            }
            GuestLocation::Nowhere(_) => {
                self.over = true;
                self.heard.push(self.here.console.heard());
                self.heard.push(there.console.heard());
                there.end();
            }
        }
        self.hops.push((name, hop));
        Ok(best.bytes_per_second())
    }
}

/// What came of a move over a link that carried this many bytes in its best second.
pub(super) fn observed(
    moved: &MigrationOutcome,
    bytes_per_second: u64,
    load: Achieved,
) -> Observed {
    let last = &moved.progress.last;
    let collected = last.ram.map_or(0, |ram| ram.dirty_sync_count);
    let arrived = moved.location == GuestLocation::Destination;
    let total = match last.total_time.filter(|_| arrived) {
        Some(total) => Duration::from_millis(total),
        // One that was cancelled has no counters any more.
        None => moved.progress.rounds.iter().map(|round| round.took).sum(),
    };
    let still = last.downtime.filter(|_| arrived).map(Duration::from_millis);
    let reason = match &moved.location {
        GuestLocation::Destination => None,
        GuestLocation::Source(why) | GuestLocation::Nowhere(why) => Some(why.to_string()),
    };
    Observed {
        moved: arrived,
        reason,
        rounds: collected.saturating_sub(FIRST + if arrived { LAST } else { 0 }),
        us: micros(total.saturating_sub(still.unwrap_or_default())),
        bytes: moved.progress.bytes(),
        bytes_per_second,
        downtime_us: still.map(micros),
        load,
    }
}

/// A forecast as the record has it.
pub(super) fn predicted(forecast: Forecast) -> Predicted {
    let us = |time: Duration| Some(micros(time));
    let (outcome, rounds, us) = match forecast {
        Forecast::Converges { rounds, within } => ("converges", Some(rounds), us(within)),
        Forecast::TooLate { within } => ("too-late", None, us(within)),
        Forecast::Never { .. } => ("never", None, None),
    };
    Predicted { outcome: outcome.to_owned(), rounds, us }
}

/// Both beside each other. What neither converged nor was given up at its time limit says nothing about
/// the forecast.
pub(super) fn cell(
    interval_ms: u64,
    rate: BitRate,
    forecast: Forecast,
    whereabouts: &GuestLocation,
    observed: Observed,
) -> SweepCell {
    let agrees = match whereabouts {
        GuestLocation::Destination => Some(forecast.moves()),
        GuestLocation::Source(FailureReason::NotConverged) => Some(!forecast.moves()),
        _ => None,
    };
    let predicted = predicted(forecast);
    SweepCell { interval_ms, bits_per_second: rate.0, predicted, observed, agrees }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A forecast that came true, one that did not, and a move that says nothing about it.
    #[test]
    fn a_wrong_forecast_is_a_disagreement() {
        let never = Forecast::Never { left: 1 };
        let soon = Forecast::Converges { rounds: 2, within: Duration::from_secs(3) };
        let late = Forecast::TooLate { within: Duration::from_secs(90) };
        let agrees = |forecast, whereabouts| {
            let moved = whereabouts == GuestLocation::Destination;
            let observed = Observed {
                moved,
                reason: None,
                rounds: 1,
                us: 1,
                bytes: 1,
                bytes_per_second: 1,
                downtime_us: None,
                load: Achieved::default(),
            };
            cell(5, BitRate(1_000_000), forecast, &whereabouts, observed).agrees
        };
        let given_up = || GuestLocation::Source(FailureReason::NotConverged);
        assert_eq!(agrees(soon, GuestLocation::Destination), Some(true));
        assert_eq!(agrees(soon, given_up()), Some(false));
        for forecast in [never, late] {
            assert_eq!(agrees(forecast, GuestLocation::Destination), Some(false));
            assert_eq!(agrees(forecast, given_up()), Some(true));
        }
        assert_eq!(agrees(soon, GuestLocation::Source(FailureReason::Interrupted)), None);
        assert_eq!(agrees(never, GuestLocation::Nowhere(FailureReason::RamDiffers)), None);
    }
}
