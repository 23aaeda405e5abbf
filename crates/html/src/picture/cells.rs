//! Cells in rows, as the pages of a region or their buckets are.

use super::{WIDTH, length};
use std::fmt::Write;

/// How cells are laid out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CellGrid {
    /// How many cells a row has.
    pub(crate) columns: usize,
    /// How high a row is.
    pub(crate) row: f64,
}

/// Cells of one row beside each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CellRun {
    /// The first.
    pub(crate) first: usize,
    /// How many.
    pub(crate) cells: usize,
}

impl CellGrid {
    /// A grid for so many cells: one row if they are few.
    pub(crate) fn of(cells: usize) -> Self {
        Self { columns: cells.clamp(1, 64), row: 10.0 }
    }

    /// A single row of so many.
    pub(crate) fn strip(cells: usize) -> Self {
        Self { columns: cells.max(1), row: 14.0 }
    }

    /// How high so many cells are together.
    pub(crate) fn height(self, cells: usize) -> f64 {
        cells.div_ceil(self.columns).max(1) as f64 * self.row
    }

    /// The cells that are meant, in runs that each lie in one row.
    pub(crate) fn runs(self, cells: usize, meant: impl Fn(usize) -> bool) -> Vec<CellRun> {
        let mut runs: Vec<CellRun> = Vec::new();
        for cell in (0..cells).filter(|cell| meant(*cell)) {
            match runs.last_mut() {
                Some(run)
                    if run.first + run.cells == cell && !cell.is_multiple_of(self.columns) =>
                {
                    run.cells += 1;
                }
                _ => runs.push(CellRun { first: cell, cells: 1 }),
            }
        }
        runs
    }

    /// Where a run lies: x, y, width.
    pub(crate) fn place(self, run: CellRun) -> (f64, f64, f64) {
        let cell = WIDTH / self.columns as f64;
        let (column, row) = (run.first % self.columns, run.first / self.columns);
        (column as f64 * cell, row as f64 * self.row, run.cells as f64 * cell)
    }

    /// The path of these runs: each as high as its row, or the lower part of it.
    pub(crate) fn path(self, runs: &[CellRun], part: f64) -> String {
        let mut path = String::new();
        for &run in runs {
            let (x, y, wide) = self.place(run);
            let high = (self.row - 1.0) * part;
            let y = y + (self.row - 1.0) - high;
            let [x, y, wide, high] = [x, y, wide, high].map(length);
            // Writing to a string can't fail.
            let _ = write!(path, "M{x} {y}h{wide}v{high}h-{wide}z");
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_in_a_row_are_one_run() {
        let grid = CellGrid { columns: 4, row: 10.0 };
        let runs = grid.runs(8, |cell| [0, 1, 3, 4, 5].contains(&cell));
        let run = |first, cells| CellRun { first, cells };
        assert_eq!(runs, [run(0, 2), run(3, 1), run(4, 2)]);
        assert_eq!(grid.place(run(5, 2)), (120.0, 10.0, 240.0));
        assert_eq!(grid.path(&[run(4, 2)], 1.0), "M0 10h240v9h-240z");
        assert!(
            (grid.height(8) - 20.0).abs() < f64::EPSILON
                && (grid.height(9) - 30.0).abs() < f64::EPSILON
        );
    }

    #[test]
    fn a_grid_is_no_wider_than_its_cells() {
        assert_eq!(CellGrid::of(5).columns, 5);
        assert_eq!(CellGrid::of(1024).columns, 64);
        assert_eq!(CellGrid::of(0).columns, 1);
    }
}
