//! Spans of time, one below the other on one axis.

use super::{Picture, WIDTH, length};
use crate::words::micros;
use maud::{Markup, html};

/// How high a row is: its name, and its bar below it.
const ROW: f64 = 32.0;

/// About how many characters the width has room for; a longer name is set narrower.
const ROOM: usize = 72;

/// A part of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// The class that colours it.
    pub(crate) class: &'static str,
    /// Where it begins, in microseconds.
    pub(crate) from: u64,
    /// How long it is.
    pub(crate) us: u64,
}

/// A row.
#[derive(Clone, Debug)]
pub(crate) struct SpanRow {
    /// What it is, with its numbers.
    pub(crate) label: String,
    /// Its parts.
    pub(crate) spans: Vec<Span>,
}

/// The picture of these rows.
pub(crate) fn draw(id: &str, title: &str, rows: &[SpanRow]) -> Markup {
    let ends = rows.iter().flat_map(|row| &row.spans).map(|span| span.from.saturating_add(span.us));
    let end = ends.max().unwrap_or(0).max(1);
    let x = |us: u64| us as f64 / end as f64 * WIDTH;
    let floor = rows.len() as f64 * ROW;
    let body = html! {
        @for (at, row) in rows.iter().enumerate() {
            @let y = at as f64 * ROW;
            @let long = row.label.chars().count() > ROOM;
            text x="0" y=(y + 12.0) textLength=[long.then_some(WIDTH)]
                lengthAdjust=[long.then_some("spacingAndGlyphs")] { (row.label) }
            @for span in row.spans.iter().filter(|span| span.us > 0) {
                rect.(span.class) x=(length(x(span.from))) y=(y + 16.0) height="12"
                    width=(length(x(span.us).max(0.7))) {}
            }
        }
        path.axis d=(format!("M0 {floor}H{WIDTH}")) {}
        text x="0" y=(floor + 14.0) { "0" }
        text x=(WIDTH) y=(floor + 14.0) text-anchor="end" { (micros(end)) }
    };
    let labels: Vec<&str> = rows.iter().map(|row| row.label.as_str()).collect();
    Picture {
        id: id.to_owned(),
        title: title.to_owned(),
        description: labels.join("; "),
        height: floor + 20.0,
    }
    .draw(&body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_row_fills_the_width() {
        let row = |us| SpanRow {
            label: format!("clock {us}"),
            spans: vec![Span { class: "f-sent", from: us, us }],
        };
        let text = draw("c", "clocks", &[row(50), row(100)]).into_string();
        assert!(text.contains(r#"x="240" y="48" height="12" width="240""#), "{text}");
        assert!(text.contains(r#"x="120" y="16" height="12" width="120""#), "{text}");
        assert!(text.contains("clock 50; clock 100"), "{text}");
        assert!(!text.contains("textLength"), "{text}");
    }

    #[test]
    fn a_long_name_has_the_width_and_no_more() {
        let row = SpanRow { label: "n".repeat(ROOM + 1), spans: Vec::new() };
        let text = draw("c", "clocks", &[row]).into_string();
        assert!(text.contains(r#"textLength="480" lengthAdjust="spacingAndGlyphs""#), "{text}");
    }
}
