//! The picture of a stretch of memory: a cell for each page, or for as many pages as a cell has.

use super::regions::{RegionHeat, within};
use crate::picture::cells::{CellGrid, CellRun};
use crate::picture::{Picture, length};
use crate::words::{count, number};
use maud::{Markup, html};

/// How many lost stretches have a text of their own.
const TOLD: usize = 128;

/// The classes of how often a cell was dirtied, the coldest first.
const LEVELS: [&str; 6] = ["h0", "h1", "h2", "h3", "h4", "h5"];

/// A stretch of a region.
#[derive(Clone, Debug)]
pub(super) struct CellPicture<'r> {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) region: &'r RegionHeat<'r>,
    /// The first page of it.
    pub(super) first_page: u64,
    /// How many pages.
    pub(super) pages: u64,
    /// How many a cell has.
    pub(super) per_cell: u64,
    /// Whether it is a single row.
    pub(super) strip: bool,
}

/// What a cell shows.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    /// Whether the record says how often it was dirtied.
    known: bool,
    dirty: u64,
    false_dirty: u64,
    lost: u64,
    found: u64,
}

impl CellPicture<'_> {
    pub(super) fn draw(&self) -> Markup {
        let cells: Vec<Cell> =
            (0..self.pages.div_ceil(self.per_cell)).map(|at| self.cell(at)).collect();
        let most = cells.iter().map(|cell| cell.dirty).max().unwrap_or(0);
        let grid =
            if self.strip { CellGrid::strip(cells.len()) } else { CellGrid::of(cells.len()) };
        let runs = |meant: &dyn Fn(&Cell) -> bool| {
            grid.runs(cells.len(), |at| cells.get(at).is_some_and(meant))
        };
        let lost = runs(&|cell| cell.lost > 0);
        let found = runs(&|cell| cell.lost == 0 && cell.found > 0);
        let body = html! {
            @for (at, class) in LEVELS.iter().enumerate() {
                @let runs = runs(&|cell| cell.known && level(cell.dirty, most) == at);
                @if !runs.is_empty() { path.(*class) d=(grid.path(&runs, 1.0)) {} }
            }
            @let unknown = runs(&|cell| !cell.known);
            @if !unknown.is_empty() { path.f-unknown d=(grid.path(&unknown, 1.0)) {} }
            @let runs = runs(&|cell| cell.false_dirty > 0);
            @if !runs.is_empty() { path.f-false d=(grid.path(&runs, 0.25)) {} }
            (self.told("f-lost", grid, &lost))
            (self.told("f-found", grid, &found))
        };
        let sum = |of: fn(&Cell) -> u64| {
            cells.iter().fold(0, |sum: u64, cell| sum.saturating_add(of(cell)))
        };
        let mut description = count(self.pages, "page");
        if cells.iter().any(|cell| cell.known) {
            description.push_str(&format!(
                ", named by the log {} times, {} falsely",
                number(sum(|cell| cell.dirty)),
                number(sum(|cell| cell.false_dirty))
            ));
        }
        description.push_str(&format!(", {} lost", number(sum(|cell| cell.lost))));
        let first = lost.first().map(|run| self.first_of(*run));
        if let Some(first) = first {
            description
                .push_str(&format!(", the first in the cell at {}", self.region.address(first)));
        }
        Picture {
            id: self.id.clone(),
            title: self.title.clone(),
            description,
            height: grid.height(cells.len()),
        }
        .draw(&body)
    }

    fn cell(&self, at: u64) -> Cell {
        let first = self.first_page + at * self.per_cell;
        let pages = self.per_cell.min(self.first_page + self.pages - first);
        let heat = self.region.heat(first, self.per_cell);
        let (dirty, false_dirty) = heat.unwrap_or_default();
        let of = |sorted: &[u64]| within(sorted, first, pages);
        let (lost, found) = (of(&self.region.lost), of(&self.region.found));
        Cell { known: heat.is_some(), dirty, false_dirty, lost, found }
    }

    fn first_of(&self, run: CellRun) -> u64 {
        self.first_page + run.first as u64 * self.per_cell
    }

    /// The runs of a class: the first ones each with a text, the others as they are.
    fn told(&self, class: &str, grid: CellGrid, runs: &[CellRun]) -> Markup {
        let (told, rest) = runs.split_at(runs.len().min(TOLD));
        html! {
            @for run in told {
                @let (x, y, wide) = grid.place(*run);
                @let pages = run.cells as u64 * self.per_cell;
                // A page among millions is seen all the same.
                rect.(class) x=(length(x)) y=(length(y)) width=(length(wide.max(1.5)))
                    height=(length(grid.row - 1.0)) {
                    title { (self.region.address(self.first_of(*run))) ": of " (count(pages, "page")) }
                }
            }
            @if !rest.is_empty() { path.(class) d=(grid.path(rest, 1.0)) {} }
        }
    }
}

/// How hot a cell is: by the root, since a few pages are often written all the time.
fn level(dirty: u64, most: u64) -> usize {
    if dirty == 0 || most == 0 {
        return 0;
    }
    let share = (dirty as f64 / most as f64).sqrt();
    ((share * 5.0).ceil() as usize).clamp(1, LEVELS.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hottest_cell_has_the_last_level_and_a_cold_one_the_first() {
        assert_eq!(level(0, 100), 0);
        assert_eq!(level(1, 100), 1);
        assert_eq!(level(30, 100), 3);
        assert_eq!(level(100, 100), 5);
        assert_eq!(level(1, 1), 5);
        assert_eq!(level(1, u64::MAX), 1);
    }
}
