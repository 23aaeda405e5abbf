//! A move as the run record has it.

use super::clocks::micros;
use super::judge::GuestReport;
use crate::driver::{GuestLocation, MigrationOutcome, PrecopyRound};
use crate::guest::heartbeat::LoadSecond;
use memtwin_report::record::{Clock, LoadEntry, Migration, MigrationRound};
use std::time::Duration;

/// The move, for the record.
pub(crate) fn migration(
    moved: &MigrationOutcome,
    account: &GuestReport,
    clocks: Vec<Clock>,
    route_wait: Duration,
) -> Migration {
    let (guest, reason) = match &moved.location {
        GuestLocation::Destination => ("destination", None),
        GuestLocation::Source(why) => ("source", Some(why.to_string())),
        GuestLocation::Nowhere(why) => ("nowhere", Some(why.to_string())),
    };
    let round = |round: &PrecopyRound| MigrationRound {
        n: round.n,
        pages: round.pages,
        zero_pages: round.zero_pages,
        bytes: round.bytes,
        us: micros(round.took),
        dirty_pages_per_second: round.dirty_rate,
    };
    Migration {
        guest: guest.to_owned(),
        reason,
        total_us: moved
            .resumed
            .map_or(moved.progress.last.total_time.unwrap_or_default() * 1000, |at| {
                micros(at.saturating_duration_since(moved.began))
            }),
        bytes: moved.progress.bytes(),
        verify_us: micros(moved.pause),
        route_wait_us: (!route_wait.is_zero()).then(|| micros(route_wait)),
        clocks,
        rounds: moved.progress.rounds.iter().map(round).collect(),
        looks: moved.looks,
        doubled: moved.doubled,
        load: load(account),
    }
}

/// Before is the first seconds, during the rest: the guest's load does not know when it moves.
fn load(account: &GuestReport) -> Option<LoadEntry> {
    let seconds = account.loads.first().filter(|seconds| seconds.len() >= 4)?;
    let (before, during) = seconds.split_at(3);
    let rate = |part: &[LoadSecond]| {
        part.iter().map(|second| second.pages).sum::<f64>() / part.len() as f64
    };
    let missed = |part: &[LoadSecond]| part.iter().map(|second| second.missed).sum();
    Some(LoadEntry {
        pages_per_second_before: rate(before) as u64,
        pages_per_second_during: rate(during) as u64,
        missed_before: missed(before),
        missed_during: missed(during),
    })
}
