//! A sweep: what was predicted beside what was observed, by the load's interval and the bandwidth.

use crate::limits::{COLUMNS, ROWS};
use crate::words::{bandwidth, bytes, count, micros, name, number, rate, sentence};
use maud::{Markup, html};
use memtwin_report::record::{Sweep, SweepCell};
use std::collections::{BTreeMap, BTreeSet};

/// The section of a sweep.
pub(crate) fn section(sweep: &Sweep) -> Markup {
    html! {
        h3 { "Predicted beside observed" }
        p {
            "The guest might stand still for " (micros(sweep.downtime_limit_us)) "; a move was given up after "
            (micros(sweep.timeout_us)) ". The bandwidth was limited by " (name(&sweep.limited_by)) ". Without load and limit: "
            (bytes(sweep.unloaded.bytes)) " at " (rate(sweep.unloaded.bytes_per_second as f64)) "."
        }
        (grid(sweep))
        @if let Some(smallest) = &sweep.smallest {
            p {
                "The smallest interval that converges at " (bandwidth(smallest.bits_per_second)) ", between "
                (smallest.low_ms) " and " (smallest.high_ms) " ms: "
                @match smallest.interval_ms { Some(ms) => { (ms) " ms" }, None => "none was seen to" } "."
                @if let Some(why) = &smallest.why { " " (sentence(why)) }
            }
        }
        (loads(sweep))
    }
}

fn grid(sweep: &Sweep) -> Markup {
    let columns: BTreeSet<u64> = sweep.cells.iter().map(|cell| cell.bits_per_second).collect();
    let mut rows: BTreeMap<u64, BTreeMap<u64, &SweepCell>> = BTreeMap::new();
    for cell in &sweep.cells {
        rows.entry(cell.interval_ms).or_default().insert(cell.bits_per_second, cell);
    }
    html! {
        table.sweep {
            thead { tr {
                th scope="col" { "Interval" }
                @for bits in columns.iter().take(COLUMNS) { th scope="col" { (bandwidth(*bits)) } }
            } }
            tbody {
                @for (interval, cells) in rows.iter().take(ROWS) {
                    tr {
                        th scope="row" { (interval) " ms" }
                        @for bits in columns.iter().take(COLUMNS) {
                            @match cells.get(bits) { Some(cell) => (square(cell)), None => td {} }
                        }
                    }
                }
            }
        }
        p.soft {
            "A cell: predicted, then observed. "
            span.pass { "✓ as predicted" } " " span.fail { "✗ otherwise" } " " span.open { "? not known" }
        }
        @if columns.len() > COLUMNS || rows.len() > ROWS {
            p.soft { (count(sweep.cells.len() as u64, "cell")) " in the record; not all are shown." }
        }
    }
}

fn square(cell: &SweepCell) -> Markup {
    let (class, sign) = match cell.agrees {
        Some(true) => ("pass", "✓"),
        Some(false) => ("fail", "✗"),
        None => ("open", "?"),
    };
    let observed = &cell.observed;
    html! {
        td {
            span.(class) { (sign) }
            " " (name(&cell.predicted.outcome))
            @if let Some(rounds) = cell.predicted.rounds { ", " (count(rounds, "round")) }
            @if let Some(us) = cell.predicted.us { ", " (micros(us)) }
            br;
            @if observed.moved { "moved" } @else { "did not move" }
            ", " (count(observed.rounds, "round")) ", " (micros(observed.us))
            @if let Some(us) = observed.downtime_us { ", down " (micros(us)) }
            @if let Some(reason) = &observed.reason { ": " (name(reason)) }
        }
    }
}

fn loads(sweep: &Sweep) -> Markup {
    html! {
        @if !sweep.loads.is_empty() {
            details {
                summary { "The loads" }
                table.stack {
                    thead { tr {
                        th scope="col" { "Interval" } th scope="col" { "Pages per second" } th scope="col" { "Missed" }
                        th scope="col" { "Kept" } th scope="col" { "Dirtied within" }
                    } }
                    tbody {
                        @for load in sweep.loads.iter().take(ROWS) {
                            tr {
                                th scope="row" data-label="Interval" { (load.interval_ms) " ms" }
                                td data-label="Pages per second" { (number(load.achieved.pages_per_second)) }
                                td data-label="Missed" { (number(load.achieved.missed)) " of " (number(load.achieved.batches.saturating_add(load.achieved.missed))) }
                                td data-label="Kept" { @if load.kept { "yes" } @else { "no" } }
                                td data-label="Dirtied within" {
                                    span {
                                        @for (at, point) in load.curve.iter().take(COLUMNS).enumerate() {
                                            @if at > 0 { "; " } (micros(point.us)) ": " (bytes(point.bytes))
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
