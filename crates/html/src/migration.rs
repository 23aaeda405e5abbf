//! How a guest moved: its rounds on the time of the move, and the clocks that saw it stand still.

use crate::limits::{ROUNDS, ROWS};
use crate::picture::legend;
use crate::picture::spans::{Span, SpanRow, draw};
use crate::words::{bytes, count, micros, name, number, rate, sentence};
use maud::{Markup, html};
use memtwin_report::record::Migration;

/// How many clocks are drawn; a move has five.
const CLOCKS: usize = 24;

/// How many rounds are drawn.
const DRAWN_ROUNDS: usize = 60;

/// The section of a move.
pub(crate) fn section(id: &str, moved: &Migration) -> Markup {
    html! {
        h3 { "The move" }
        p {
            "When it was over the guest ran at: " strong { (name(&moved.guest)) } "."
            @if let Some(reason) = &moved.reason { " " (sentence(reason)) }
        }
        p {
            (bytes(moved.bytes)) " in " (micros(moved.total_us)) ". Looked " (count(moved.looks, "time"))
            " whether both sides ran the guest: they did " (count(moved.doubled, "time")) "."
        }
        (clocks(id, moved))
        (phases(id, moved))
        @if let Some(load) = &moved.load {
            p {
                "The load dirtied " (number(load.pages_per_second_before)) " pages per second before, "
                (number(load.pages_per_second_during)) " while it moved; it missed "
                (count(load.missed_before, "interval")) " before, " (number(load.missed_during)) " while it moved."
            }
        }
        (rounds(moved))
    }
}

/// Each clock: what the guest missed, and apart from it the time for which its memory was judged.
fn clocks(id: &str, moved: &Migration) -> Markup {
    let rows: Vec<SpanRow> = moved
        .clocks
        .iter()
        .take(CLOCKS)
        .map(|clock| {
            let apart = clock.us.saturating_sub(clock.without_verify_us);
            let own = clock.without_verify_us;
            SpanRow {
                label: match apart {
                    0 => format!("{}: {}", name(&clock.name), micros(own)),
                    apart => format!(
                        "{}: {}, and {} apart",
                        name(&clock.name),
                        micros(own),
                        micros(apart)
                    ),
                },
                spans: vec![
                    Span { class: "f-dirty", from: 0, us: own },
                    Span { class: "f-judge", from: own, us: apart },
                ],
            }
        })
        .collect();
    html! {
        @if !rows.is_empty() {
            (legend(&[("f-dirty", "stood still for the move"),
                ("f-judge", "apart: its memory was judged, and the route's switch waited for that")]))
            (draw(&format!("{id}-clocks"), "How long the guest stood still, by each clock", &rows))
            p.soft { "Its memory was judged for " (micros(moved.verify_us)) "." }
        }
    }
}

/// The rounds one after the other, the rest of the move, and the judging.
fn phases(id: &str, moved: &Migration) -> Markup {
    let mut from: u64 = 0;
    let mut rows = Vec::new();
    for round in moved.rounds.iter().take(DRAWN_ROUNDS) {
        rows.push(SpanRow {
            label: format!("round {}: {}, {}", round.n, micros(round.us), bytes(round.bytes)),
            spans: vec![Span { class: "f-sent", from, us: round.us }],
        });
        from = from.saturating_add(round.us);
    }
    let all = moved.rounds.len() <= DRAWN_ROUNDS;
    let rest = moved.total_us.saturating_sub(from);
    if all && rest > 0 && !rows.is_empty() {
        let judged = moved.verify_us.min(rest);
        rows.push(SpanRow {
            label: format!("stop, hand-over and start: {}", micros(rest - judged)),
            spans: vec![Span { class: "f-dirty", from, us: rest - judged }],
        });
        rows.push(SpanRow {
            label: format!("pause for judging: {}", micros(judged)),
            spans: vec![Span { class: "f-judge", from: from + (rest - judged), us: judged }],
        });
    }
    html! {
        @if !rows.is_empty() {
            (draw(&format!("{id}-phases"), "The phases of the move", &rows))
            p.soft { "Rounds are drawn one after the other; what is left of the whole time is drawn after them." }
        }
    }
}

fn rounds(moved: &Migration) -> Markup {
    html! {
        @if !moved.rounds.is_empty() {
            details {
                summary { "The rounds of the move in numbers" }
                table.stack {
                    thead { tr {
                        th scope="col" { "Round" } th scope="col" { "Pages" } th scope="col" { "Zero" }
                        th scope="col" { "Bytes" } th scope="col" { "Time" } th scope="col" { "Speed" }
                        th scope="col" { "Dirtied, pages/s" }
                    } }
                    tbody {
                        @for round in moved.rounds.iter().take(ROUNDS.min(ROWS)) {
                            tr {
                                td data-label="Round" { (round.n) }
                                td.n data-label="Pages" { (number(round.pages)) }
                                td.n data-label="Zero" { (number(round.zero_pages)) }
                                td.n data-label="Bytes" { (bytes(round.bytes)) }
                                td.n data-label="Time" { (micros(round.us)) }
                                td.n data-label="Speed" { (rate(round.bytes as f64 * 1e6 / round.us.max(1) as f64)) }
                                td.n data-label="Dirtied, pages/s" { (number(round.dirty_pages_per_second)) }
                            }
                        }
                    }
                }
                @if moved.rounds.len() > ROUNDS {
                    p.soft { (count((moved.rounds.len() - ROUNDS) as u64, "more round")) " in the record." }
                }
            }
        }
    }
}
