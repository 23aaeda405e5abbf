//! The smallest interval at which each keeps up with a guest that dirties one word in each of 2,048
//! pages per interval, every batch other pages of a window of random data: the reference setup's
//! `dirtyram … 2048 50` over a link of 1 Gbit/s. Memtwin and stock QEMU over the same link, in the
//! same run, at the same intervals.

use super::converge::Memtwin;
use super::guest::BenchGuest;
use super::lab::{BenchLink, LinkSide};
use super::load::{BATCH, Interval, LoadAttempt};
use super::precopy::{self, CatchUpMethod};
use super::receiver::ReceiverProcess;
use crate::beside::{Aim, Measured};
use anyhow::{Context, Result, ensure};
use memtwin_replicate::CancelToken;
use std::path::Path;

const DELTAS: &str = "Memtwin";
const NO_DELTAS: &str = "Memtwin, no deltas";
const OF_QEMU: &str = "Memtwin, of QEMU's guest";

/// After this many intervals in a row at which it does not keep up, no smaller one is tried.
const MISSES: usize = 2;

/// What to measure.
pub(crate) struct LinkPlan<'p> {
    pub(crate) dir: &'p Path,
    pub(crate) memtwin: &'p Path,
    pub(crate) turns: usize,
    /// In milliseconds.
    pub(crate) intervals: &'p [f64],
}

/// All attempts, and what they come to.
pub(crate) fn measure(
    plan: &LinkPlan<'_>,
    stop: &CancelToken,
) -> Result<(Vec<Measured>, Vec<LoadAttempt>)> {
    let mut intervals: Vec<_> = plan.intervals.iter().copied().map(Interval).collect();
    let sensible = |interval: &Interval| (0.1..=10_000.0).contains(&interval.0);
    ensure!(intervals.iter().all(sensible), "an interval is from 0.1 to 10,000 ms");
    intervals.sort_by(|a, b| b.0.total_cmp(&a.0));
    let link = BenchLink::make().context("two network namespaces")?;
    println!("1 Gbit/s between two network namespaces (veth, tbf);");
    println!("a batch is one word in each of {BATCH} pages of a 256 MiB window of random data:");
    println!(
        "  variant                   interval    wanted      done  rounds      time  converges"
    );
    let mut attempts = Vec::new();
    for turn in 1..=plan.turns {
        let mut note = |attempt: LoadAttempt| {
            let attempt = LoadAttempt { turn, ..attempt };
            println!("{attempt}");
            let converged = attempt.converged();
            attempts.push(attempt);
            converged
        };
        {
            let memtwin = link.command(LinkSide::There, plan.memtwin);
            let more = ["--insecure-plaintext", "--forever"];
            let listen = format!("{}:4870", LinkSide::There.address());
            let receiver = ReceiverProcess::start(&memtwin, &listen, plan.dir, &more)?;
            let memtwin = Memtwin { binary: plan.memtwin, receiver: receiver.address, stop };
            for (variant, delta) in [(DELTAS, true), (NO_DELTAS, false)] {
                search(&intervals, |interval| {
                    let attempt = link
                        .within(LinkSide::Here, || memtwin.of_a_process(variant, delta, interval));
                    Ok(note(attempt?))
                })?;
            }
            let mut guest = BenchGuest::start(&link, plan.dir, stop)?;
            search(&intervals, |interval| {
                let attempt = link
                    .within(LinkSide::Here, || memtwin.of_a_guest(OF_QEMU, &mut guest, interval));
                Ok(note(attempt?))
            })?;
        }
        let mut guest = BenchGuest::start(&link, plan.dir, stop)?;
        for way in CatchUpMethod::ALL {
            if let Some(reason) = way.lacks(&mut guest) {
                println!("  {} was not measured: {reason}", way.name());
                continue;
            }
            search(&intervals, |interval| {
                let dir = plan.dir;
                Ok(note(precopy::migrate(&link, dir, &mut guest, way, interval, stop)?))
            })?;
        }
    }
    for variant in [DELTAS].into_iter().chain(others()) {
        let never = |turn: &usize| smallest(&attempts, variant, *turn).is_none();
        for turn in (1..=plan.turns).filter(never) {
            println!("  {variant} kept up at none of these intervals (turn {turn})");
        }
    }
    Ok((conclude(plan.turns, &attempts), attempts))
}

/// Tries one interval after the other, from the largest on.
fn search(
    intervals: &[Interval],
    mut keeps_up: impl FnMut(Interval) -> Result<bool>,
) -> Result<()> {
    let mut misses = 0;
    for &interval in intervals {
        misses = if keeps_up(interval)? { 0 } else { misses + 1 };
        if misses == MISSES {
            break;
        }
    }
    Ok(())
}

/// The smallest interval of a turn at which a variant kept up.
fn smallest(attempts: &[LoadAttempt], variant: &str, turn: usize) -> Option<f64> {
    attempts
        .iter()
        .filter(|attempt| attempt.variant == variant && attempt.turn == turn && attempt.converged())
        .map(|attempt| attempt.interval_ms)
        .min_by(f64::total_cmp)
}

/// What to say of a variant's smallest interval if it is not the variant's own limit.
fn bound(attempts: &[LoadAttempt], variant: &str) -> &'static str {
    let mut said = "";
    for turn in attempts.iter().map(|attempt| attempt.turn) {
        let Some(smallest) = smallest(attempts, variant, turn) else { continue };
        let below = attempts.iter().find(|attempt| {
            attempt.variant == variant && attempt.turn == turn && attempt.interval_ms < smallest
        });
        match below {
            None => return " (no smaller one was tried)",
            Some(below) if !below.is_loaded() => said = " (its guest wrote no faster)",
            Some(_) => {}
        }
    }
    said
}

/// Memtwin beside each of the others.
fn conclude(turns: usize, attempts: &[LoadAttempt]) -> Vec<Measured> {
    let of = |variant: &str| -> Option<Vec<f64>> {
        (1..=turns).map(|turn| smallest(attempts, variant, turn)).collect()
    };
    let Some(ours) = of(DELTAS) else { return Vec::new() };
    let what = format!(
        "the smallest interval of {BATCH} pages that converges over 1 Gbit/s{}",
        bound(attempts, DELTAS)
    );
    let beside = |variant: &'static str| {
        let beside = format!("{variant}{}", bound(attempts, variant));
        Some(Measured::of_numbers(&what, ours.clone(), beside, of(variant)?, Aim::Reported, "ms"))
    };
    others().filter_map(beside).collect()
}

/// What stands beside Memtwin itself.
fn others() -> impl Iterator<Item = &'static str> {
    [NO_DELTAS, OF_QEMU].into_iter().chain(CatchUpMethod::ALL.map(CatchUpMethod::name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(variant: &'static str, interval_ms: f64, fitted: bool, done: f64) -> LoadAttempt {
        let wanted = 1e3 / interval_ms;
        let more = String::new();
        let done = done * wanted;
        LoadAttempt {
            variant,
            turn: 1,
            interval_ms,
            fitted,
            rounds: 1,
            seconds: 1.0,
            wanted,
            done,
            more,
        }
    }

    #[test]
    fn a_search_ends_after_two_misses_in_a_row() {
        let tried = |keeps_up: &[bool]| {
            let intervals: Vec<_> = (0..keeps_up.len()).map(|n| Interval(n as f64)).collect();
            let mut tried = 0;
            search(&intervals, |interval| {
                tried += 1;
                Ok(keeps_up[interval.0 as usize])
            })
            .unwrap();
            tried
        };
        assert_eq!(tried(&[true, false, true, false, false, true]), 5);
        assert_eq!(tried(&[true, true]), 2);
    }

    #[test]
    fn a_load_that_was_missed_has_not_converged() {
        let attempts = [
            attempt(DELTAS, 80.0, true, 1.0),
            attempt(DELTAS, 20.0, true, 0.96),
            attempt(DELTAS, 10.0, true, 0.94),
            attempt("QEMU pre-copy", 80.0, true, 1.0),
            attempt("QEMU pre-copy", 20.0, false, 1.0),
            attempt("QEMU, xbzrle", 80.0, true, 1.0),
            attempt("QEMU, xbzrle", 20.0, true, 0.5),
        ];
        assert_eq!(smallest(&attempts, DELTAS, 1), Some(20.0));
        let measured = conclude(1, &attempts);
        let said: Vec<_> = measured.iter().map(|measured| measured.beside.as_str()).collect();
        assert_eq!(said, ["QEMU pre-copy", "QEMU, xbzrle (its guest wrote no faster)"]);
        assert!(measured[0].what.ends_with("over 1 Gbit/s (its guest wrote no faster)"));
        assert_eq!(bound(&attempts[..2], DELTAS), " (no smaller one was tried)");
        assert_eq!((measured[0].ours, measured[0].theirs, measured[0].ratio), (20.0, 80.0, 0.25));
        // Not in every turn.
        assert_eq!(conclude(2, &attempts).len(), 0);
    }
}
