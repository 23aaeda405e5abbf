//! An aligned table.

use anstyle::Style;
use std::io::{self, Write};

const GAP: &str = "  ";

/// What stands in a row and a column.
#[derive(Debug)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), style: Style::new() }
    }

    pub(super) fn styled(text: impl Into<String>, style: Style) -> Self {
        Self { text: text.into(), style }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// Rows under a header. A heading that begins with `>` is of a column that is aligned right.
#[derive(Debug)]
pub(super) struct TextTable {
    right: Vec<bool>,
    rows: Vec<Vec<Cell>>,
}

impl TextTable {
    pub(super) fn new(headings: &[&str]) -> Self {
        let bold = Style::new().bold();
        let heading = |text: &&str| Cell::styled(text.trim_start_matches('>'), bold);
        Self {
            right: headings.iter().map(|heading| heading.starts_with('>')).collect(),
            rows: vec![headings.iter().map(heading).collect()],
        }
    }

    /// Adds a row, which has a cell for each heading.
    pub(super) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.push(cells.into());
    }

    /// The same, where the columns depend on the run.
    pub(super) fn push(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.right.len());
        self.rows.push(cells);
    }

    /// Writes every row, without white space at its end.
    pub(super) fn write(&self, to: &mut dyn Write, indent: &str, colour: bool) -> io::Result<()> {
        let widths: Vec<usize> = (0..self.right.len())
            .map(|column| self.rows.iter().map(|row| row[column].width()).max().unwrap_or(0))
            .collect();
        for row in &self.rows {
            let mut line = indent.to_owned();
            let last = row.iter().rposition(|cell| !cell.text.is_empty()).unwrap_or(0);
            for (i, cell) in row.iter().enumerate().take(last + 1) {
                let pad = " ".repeat(widths[i] - cell.width());
                let (before, after) = if self.right[i] { (&*pad, "") } else { ("", &*pad) };
                line.push_str(before);
                line.push_str(&paint(&cell.text, cell.style, colour));
                if i < last {
                    line.push_str(after);
                    line.push_str(GAP);
                }
            }
            writeln!(to, "{line}")?;
        }
        Ok(())
    }
}

/// The text in this style, if there is to be colour.
pub(super) fn paint(text: &str, style: Style, colour: bool) -> String {
    if colour && !style.is_plain() { format!("{style}{text}{style:#}") } else { text.to_owned() }
}
