//! How a guest moved: its rounds on the time of the move, and the clocks that saw it stand still.

use crate::limits::{ROUNDS, ROWS};
use crate::picture::legend;
use crate::picture::spans::{Span, SpanRow, draw};
use crate::words::{bytes, count, micros, name, number, rate, sentence};
use maud::{Markup, html};
use memtwin_report::record::{Clock, Migration};

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

/// Each clock: what the guest missed, and apart from it the time for which its memory was judged, and for which
/// the route's switch waited.
fn clocks(id: &str, moved: &Migration) -> Markup {
    let rows: Vec<SpanRow> =
        moved.clocks.iter().take(CLOCKS).map(|clock| row(clock, moved)).collect();
    html! {
        @if !rows.is_empty() {
            (legend(&[("f-dirty", "stood still for the move"), ("f-judge", "paused for its memory to be judged"),
                ("f-zero", "the route's switch waited")]))
            (draw(&format!("{id}-clocks"), "How long the guest stood still, by each clock", &rows))
            p.soft {
                "Apart from the move: its memory was judged for " (micros(moved.verify_us))
                @if let Some(wait) = moved.route_wait_us {
                    "; the switch of the route waited " (micros(wait)) " for the guest to say whom it reaches"
                }
                "."
            }
        }
    }
}

fn row(clock: &Clock, moved: &Migration) -> SpanRow {
    let own = clock.without_verify_us;
    let apart = clock.us.saturating_sub(own);
    let judged = apart.min(moved.verify_us);
    let waited = (apart - judged).min(moved.route_wait_us.unwrap_or(0));
    // What is neither is the clock's own account of the pause.
    let judged = apart - waited;
    let mut label = format!("{}: {}", name(&clock.name), micros(own));
    let (after, mut spans) = (own.saturating_add(judged), Vec::new());
    for (class, from, us, what) in [
        ("f-dirty", 0, own, ""),
        ("f-judge", own, judged, "paused for judging"),
        ("f-zero", after, waited, "waited for the route"),
    ] {
        spans.push(Span { class, from, us });
        if us > 0 && !what.is_empty() {
            label.push_str(&format!(" + {} {what}", micros(us)));
        }
    }
    SpanRow { label, spans }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judging_and_the_route_are_apart() {
        let moved = Migration { verify_us: 100, route_wait_us: Some(30), ..Migration::default() };
        let clock = Clock { name: "ping".to_owned(), us: 150, without_verify_us: 20 };
        let row = row(&clock, &moved);
        let spans: Vec<_> = row.spans.iter().map(|span| (span.from, span.us)).collect();
        assert_eq!(spans, [(0, 20), (20, 100), (120, 30)]);
        assert_eq!(
            row.label,
            "ping: 20 us + 100 us paused for judging + 30 us waited for the route"
        );
        let plain = Clock { name: "QEMU".to_owned(), us: 20, without_verify_us: 20 };
        assert_eq!(super::row(&plain, &moved).label, "QEMU: 20 us");
    }
}
