//! The rounds of a case over time: pages, times, throughput and backlog.

use crate::limits::{BARS, ROUNDS};
use crate::picture::bars::{BarChart, BarSeries};
use crate::picture::legend;
use crate::words::{bytes, count, micros, number, percent, rate};
use maud::{Markup, html};
use memtwin_report::record::{Case, RecordedKind, RoundEntry};

/// Rounds that share a bar.
#[derive(Clone, Copy, Debug, Default)]
struct RoundSum {
    dirty: u64,
    sent: u64,
    false_dirty: u64,
    zero: u64,
    bytes: u64,
    collect_us: u64,
    copy_us: u64,
    /// Pages that an earlier round could not commit.
    carried: u64,
}

impl RoundSum {
    fn add(mut self, round: &RoundEntry) -> Self {
        let carried = round.sent_pages.saturating_sub(round.dirty_pages);
        for (sum, value) in [
            (&mut self.dirty, round.dirty_pages),
            (&mut self.sent, round.sent_pages),
            (&mut self.false_dirty, round.false_dirty_pages),
            (&mut self.zero, round.zero_pages),
            (&mut self.bytes, round.bytes),
            (&mut self.collect_us, round.collect_us),
            (&mut self.copy_us, round.copy_us),
            (&mut self.carried, carried),
        ] {
            *sum = sum.saturating_add(value);
        }
        self
    }

    /// Bytes per second of copying.
    fn throughput(&self) -> u64 {
        let rate = u128::from(self.bytes) * 1_000_000 / u128::from(self.copy_us.max(1));
        u64::try_from(rate).unwrap_or(u64::MAX)
    }
}

/// The charts of a case's rounds, and their numbers.
pub(crate) fn section(id: &str, case: &Case) -> Markup {
    let rounds = case.rounds();
    let (precopy, after): (Vec<&RoundEntry>, Vec<&RoundEntry>) =
        rounds.iter().partition(|round| round.kind == RecordedKind::PreCopy);
    let sums = sums(&after);
    html! {
        @if !rounds.is_empty() {
            h4 { "Rounds" }
            @for round in precopy.iter().take(1) {
                p {
                    "Pre-copy sent " (count(round.sent_pages, "page")) " (" (number(round.zero_pages))
                    " zero) in " (micros(round.total_us)) "."
                }
            }
            @if sums.iter().any(|sum| sum.sent > 0 || sum.collect_us > 0) { (charts(id, &after, &sums)) }
            (numbers(rounds))
        }
    }
}

/// At most so many sums, each of as many rounds.
fn sums(rounds: &[&RoundEntry]) -> Vec<RoundSum> {
    let share = rounds.len().div_ceil(BARS).max(1);
    let sum = |rounds: &[&RoundEntry]| {
        rounds.iter().fold(RoundSum::default(), |sum, round| sum.add(round))
    };
    rounds.chunks(share).map(sum).collect()
}

fn charts(id: &str, rounds: &[&RoundEntry], sums: &[RoundSum]) -> Markup {
    let of = |value: fn(&RoundSum) -> u64| sums.iter().map(value).collect::<Vec<u64>>();
    let series = |class, values, within| BarSeries { class, values, within };
    let total =
        |values: &[u64]| values.iter().fold(0, |sum: u64, value| sum.saturating_add(*value));
    let share = rounds.len().div_ceil(BARS).max(1);
    let each = if share == 1 { String::new() } else { format!(", {share} rounds in each bar") };
    let ends = [rounds.first(), rounds.last()]
        .map(|round| round.map(|round| end(round)).unwrap_or_default());
    let chart = |part: &str,
                 title: String,
                 description: String,
                 series: Vec<BarSeries>,
                 largest: fn(u64) -> String| {
        let largest = largest(BarChart::top_of(&series));
        let (id, ends) = (format!("{id}-{part}"), ends.clone());
        BarChart { id, title, description, series, ends, largest }.draw()
    };

    let (sent, dirty) = (of(|sum| sum.sent), of(|sum| sum.dirty));
    let (falsely, zero) = (of(|sum| sum.false_dirty), of(|sum| sum.zero));
    let pages = format!(
        "{} after pre-copy named {}; sent {}, of which {} falsely dirty ({}) and {} zero",
        count(rounds.len() as u64, "round"),
        count(total(&dirty), "page"),
        number(total(&sent)),
        number(total(&falsely)),
        percent(total(&falsely), total(&sent)),
        number(total(&zero))
    );
    let pages = chart(
        "pages",
        format!("Pages per round{each}"),
        pages,
        vec![
            series("f-sent", sent, (0.0, 0.9)),
            series("f-dirty", dirty, (0.0, 0.3)),
            series("f-false", falsely, (0.3, 0.6)),
            series("f-zero", zero, (0.6, 0.9)),
        ],
        number,
    );

    let (collect, copy) = (of(|sum| sum.collect_us), of(|sum| sum.copy_us));
    let times =
        format!("collecting took {}, copying {}", micros(total(&collect)), micros(total(&copy)));
    let times = chart(
        "times",
        format!("Time per round{each}"),
        times,
        vec![series("f-collect", collect, (0.0, 0.45)), series("f-copy", copy, (0.45, 0.9))],
        micros,
    );

    let throughput = of(RoundSum::throughput);
    let all = sums.iter().fold(RoundSum::default(), |all, sum| RoundSum {
        bytes: all.bytes.saturating_add(sum.bytes),
        copy_us: all.copy_us.saturating_add(sum.copy_us),
        ..all
    });
    let speed =
        format!("{} in all, {} on average", bytes(all.bytes), rate(all.throughput() as f64));
    let speed = chart(
        "speed",
        format!("Throughput of copying per round{each}"),
        speed,
        vec![series("f-copy", throughput, (0.0, 0.9))],
        |largest| rate(largest as f64),
    );

    let carried = of(|sum| sum.carried);
    let owed = total(&carried);
    html! {
        (legend(&[("f-sent", "sent"), ("f-dirty", "dirty"), ("f-false", "false dirty"), ("f-zero", "zero")]))
        (pages)
        (legend(&[("f-collect", "collect"), ("f-copy", "copy")]))
        (times)
        (speed)
        @if owed == 0 {
            p.soft { "Backlog: no round left anything to the next one." }
        } @else {
            (chart("backlog", format!("Backlog: pages of an earlier round{each}"),
                format!("{} were sent in a later round than the log named them", count(owed, "page")),
                vec![series("f-dirty", carried, (0.0, 0.9))], number))
        }
    }
}

/// A round, and when it began.
fn end(round: &RoundEntry) -> String {
    match round.started_us {
        Some(us) => format!("round {}, at {}", round.n, micros(us)),
        None => format!("round {}", round.n),
    }
}

fn numbers(rounds: &[RoundEntry]) -> Markup {
    let kind = |kind| match kind {
        RecordedKind::PreCopy => "pre-copy",
        RecordedKind::Delta => "delta",
        RecordedKind::Final => "final",
    };
    html! {
        details {
            summary { "The rounds in numbers" }
            table.stack {
                thead { tr {
                    th scope="col" { "Round" } th scope="col" { "Kind" } th scope="col" { "Began" }
                    th scope="col" { "Dirty" } th scope="col" { "Sent" } th scope="col" { "False" }
                    th scope="col" { "Zero" } th scope="col" { "Bytes" } th scope="col" { "Collect" }
                    th scope="col" { "Copy" } th scope="col" { "Total" }
                } }
                tbody {
                    @for round in rounds.iter().take(ROUNDS) {
                        tr {
                            td data-label="Round" { (round.n) }
                            td data-label="Kind" { (kind(round.kind)) }
                            td.n data-label="Began" { @if let Some(us) = round.started_us { (micros(us)) } }
                            td.n data-label="Dirty" { (number(round.dirty_pages)) }
                            td.n data-label="Sent" { (number(round.sent_pages)) }
                            td.n data-label="False" { (number(round.false_dirty_pages)) }
                            td.n data-label="Zero" { (number(round.zero_pages)) }
                            td.n data-label="Bytes" { (bytes(round.bytes)) }
                            td.n data-label="Collect" { (micros(round.collect_us)) }
                            td.n data-label="Copy" { (micros(round.copy_us)) }
                            td.n data-label="Total" { (micros(round.total_us)) }
                        }
                    }
                }
            }
            @if rounds.len() > ROUNDS {
                p.soft { (count((rounds.len() - ROUNDS) as u64, "more round")) " in the record." }
            }
        }
    }
}
