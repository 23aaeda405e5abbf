//! Bars over the rounds, on one scale.

use super::{Picture, WIDTH, length};
use maud::{Markup, html};
use std::fmt::Write;

/// Where the plot begins: left of it stand the numbers.
const LEFT: f64 = 90.0;
/// How high it is.
const PLOT: f64 = 110.0;
/// The room above it.
const TOP: f64 = 8.0;
/// The room below it, for the axis.
const BELOW: f64 = 20.0;

/// Some bars of one kind.
#[derive(Clone, Debug)]
pub(crate) struct BarSeries {
    /// The class that colours them.
    pub(crate) class: &'static str,
    /// Their heights.
    pub(crate) values: Vec<u64>,
    /// Which part of its slot a bar fills: from, to.
    pub(crate) within: (f64, f64),
}

/// A chart of bars.
#[derive(Clone, Debug)]
pub(crate) struct BarChart {
    /// What it is, without its height.
    pub(crate) id: String,
    /// What it shows.
    pub(crate) title: String,
    /// The same in words and numbers.
    pub(crate) description: String,
    /// The bars; those further back come first.
    pub(crate) series: Vec<BarSeries>,
    /// What stands at the first slot and at the last one.
    pub(crate) ends: [String; 2],
    /// The largest value as a person reads it.
    pub(crate) largest: String,
}

impl BarChart {
    /// The largest value of any bar, and at least 1.
    pub(crate) fn top_of(series: &[BarSeries]) -> u64 {
        series.iter().flat_map(|series| &series.values).copied().max().unwrap_or(0).max(1)
    }

    /// The picture.
    pub(crate) fn draw(&self) -> Markup {
        let top = Self::top_of(&self.series);
        let slots = self.series.iter().map(|series| series.values.len()).max().unwrap_or(0).max(1);
        let (floor, right) = (TOP + PLOT, WIDTH - 4.0);
        let body = html! {
            path.axis d=(format!("M{LEFT} {TOP}V{floor}H{right}")) {}
            @for series in &self.series {
                path.(series.class) d=(bars(series, top, slots, right - LEFT)) {}
            }
            text x=(LEFT - 6.0) y=(TOP + 10.0) text-anchor="end" { (self.largest) }
            text x=(LEFT - 6.0) y=(floor) text-anchor="end" { "0" }
            text x=(LEFT) y=(floor + 15.0) { (self.ends[0]) }
            text x=(right) y=(floor + 15.0) text-anchor="end" { (self.ends[1]) }
        };
        Picture {
            id: self.id.clone(),
            title: self.title.clone(),
            description: self.description.clone(),
            height: TOP + PLOT + BELOW,
        }
        .draw(&body)
    }
}

/// The path of a series: a box for each value that is not 0.
fn bars(series: &BarSeries, top: u64, slots: usize, width: f64) -> String {
    let slot = width / slots as f64;
    let (from, to) = series.within;
    let mut path = String::new();
    for (at, &value) in series.values.iter().enumerate().filter(|(_, value)| **value > 0) {
        let high = PLOT * (value as f64 / top as f64);
        let x = LEFT + (at as f64 + from) * slot;
        // What is there is seen.
        let (wide, high) = (((to - from) * slot).max(0.5), high.max(0.7));
        let (x, y, wide, high) = (length(x), length(TOP + PLOT - high), length(wide), length(high));
        // Writing to a string can't fail.
        let _ = write!(path, "M{x} {y}h{wide}v{high}h-{wide}z");
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: &[u64]) -> BarSeries {
        BarSeries { class: "f-sent", values: values.to_vec(), within: (0.0, 1.0) }
    }

    #[test]
    fn a_bar_is_as_high_as_its_share_of_the_largest() {
        let path = bars(&series(&[10, 0, 5]), 10, 3, 300.0);
        assert_eq!(path, "M90 8h100v110h-100zM290 63h100v55h-100z");
    }

    #[test]
    fn what_is_there_is_seen_and_nothing_is_not() {
        assert_eq!(bars(&series(&[0, 0]), 10, 2, 100.0), "");
        assert!(bars(&series(&[1]), u64::MAX, 1, 100.0).contains("v0.7"));
        assert_eq!(BarChart::top_of(&[series(&[])]), 1);
        assert_eq!(BarChart::top_of(&[series(&[3]), series(&[9, 2])]), 9);
    }
}
