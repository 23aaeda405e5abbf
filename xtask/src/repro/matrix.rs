//! Scenarios on several versions of QEMU, and the table of what was seen (docs/findings.md keeps it).

use super::Terminal;
use super::cell::Cell;
use super::tested_qemu::{TestedMachine, TestedQemu};
use crate::interrupt::Interrupt;
use anyhow::Context;
use memtwin_bare::{Expected, Scenario};
use memtwin_repro::{MoveRun, ReproRun};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What is run on what.
pub(super) struct Matrix<'m> {
    pub(super) scenarios: &'m [Scenario],
    pub(super) qemus: Vec<TestedQemu>,
    /// The program that audits; none: the guests are migrated instead.
    pub(super) memtwin: Option<PathBuf>,
    pub(super) time: Duration,
    /// Passed on to QEMU.
    pub(super) arguments: &'m [String],
    pub(super) interrupt: &'m Interrupt,
}

impl Matrix<'_> {
    /// Runs all of it and prints the table. Whether all was as it is known of each version.
    pub(super) fn run(&self) -> anyhow::Result<bool> {
        let folder = tempfile::tempdir().context("can't make a temporary folder")?;
        let headings = self.qemus.iter().map(|qemu| qemu.heading.clone()).collect();
        let mut table = VersionTable { headings, rows: Vec::new() };
        for &scenario in self.scenarios {
            let mut row = Vec::new();
            for qemu in &self.qemus {
                let mut cells = Vec::new();
                match qemu.machines(scenario) {
                    Err(cell) => {
                        eprintln!("{scenario:<22} {}: {cell}", qemu.heading);
                        cells.push(("no machine".to_owned(), cell));
                    }
                    Ok(machines) => {
                        for tested in machines {
                            if self.interrupt.is_set() {
                                print!("{table}");
                                return Ok(false);
                            }
                            let name = tested.machine.machine.to_string();
                            let began = Instant::now();
                            let cell = self.cell(scenario, tested, folder.path());
                            let took = began.elapsed().as_secs_f64();
                            let heading = &qemu.heading;
                            eprintln!("{scenario:<22} {heading} {name}: {cell} ({took:.1} s)");
                            cells.push((name, cell));
                        }
                    }
                }
                row.push(cells);
            }
            table.rows.push((scenario, row));
        }
        print!("{table}");
        Ok(table.passed())
    }

    fn cell(&self, scenario: Scenario, tested: TestedMachine, folder: &Path) -> Cell {
        let TestedMachine { machine, version } = tested;
        let known = scenario.expected(version, &machine.machine);
        let mut caller = Terminal { interrupt: self.interrupt, quiet: true };
        let arguments = self.arguments;
        let Some(memtwin) = &self.memtwin else {
            let run = MoveRun { machine, arguments };
            return Cell::moved(run.run(&mut caller), known.as_ref());
        };
        let run = ReproRun {
            machine,
            expected: known.clone().unwrap_or(Expected::Identical),
            memtwin,
            time: self.time,
            arguments,
            audit: &[],
            record: &folder.join("record.json"),
        };
        Cell::audited(run.run(&mut caller), known.as_ref())
    }
}

/// For a version, each machine type's name with what was seen in it.
type Column = Vec<(String, Cell)>;

/// What was seen, by scenario and version.
struct VersionTable {
    headings: Vec<String>,
    rows: Vec<(Scenario, Vec<Column>)>,
}

impl VersionTable {
    /// Whether there was something, and nothing failed.
    fn passed(&self) -> bool {
        let cells = || self.rows.iter().flat_map(|(_, row)| row.iter().flatten());
        cells().next().is_some() && !cells().any(|(_, cell)| cell.is_failure())
    }
}

impl fmt::Display for VersionTable {
    /// In Markdown: of two machine types the newest, then the oldest, unless both are the same. Below
    /// it why a cell has nothing, or is not as expected.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| scenario | {} |", self.headings.join(" | "))?;
        writeln!(f, "|---|{}", "---|".repeat(self.headings.len()))?;
        let mut notes = Vec::new();
        for (scenario, row) in &self.rows {
            write!(f, "| `{scenario}` |")?;
            for (heading, cells) in self.headings.iter().zip(row) {
                let mut words: Vec<String> = cells.iter().map(|(_, cell)| cell.short()).collect();
                words.dedup();
                write!(f, " {} |", words.join(" / "))?;
                for (machine, cell) in cells {
                    let plain =
                        matches!(cell, Cell::Seen { unexpected, .. } if unexpected.is_empty());
                    if !plain {
                        notes.push(format!("{scenario} {heading} {machine}: {cell}"));
                    }
                }
            }
            writeln!(f)?;
        }
        notes.iter().try_for_each(|note| writeln!(f, "- {note}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_types_that_agree_share_a_cell_and_reasons_are_below() {
        let seen = |what: &str| Cell::Seen { what: what.to_owned(), unexpected: Vec::new() };
        let old = Cell::NoVerdict("no hold".to_owned(), false);
        let of = |machine: &str, cell: &Cell| (machine.to_owned(), cell.clone());
        let headings = vec!["5.2.0".to_owned(), "11.1.3".to_owned()];
        let row = vec![
            vec![of("virt-5.2", &old), of("virt-2.6", &seen("lost: 1 of a"))],
            vec![of("virt-11.1", &seen("no lost page")), of("virt-5.0", &seen("no lost page"))],
        ];
        let mut table = VersionTable { headings, rows: vec![(Scenario::Writer, row)] };
        assert_eq!(
            table.to_string(),
            "| scenario | 5.2.0 | 11.1.3 |\n|---|---|---|\n\
             | `writer` | no verdict / lost: 1 of a | no lost page |\n\
             - writer 5.2.0 virt-5.2: no verdict: no hold\n"
        );
        assert!(table.passed());
        table.rows[0].1[1][0].1 = Cell::Failed("x".to_owned());
        assert!(!table.passed());
        assert!(!VersionTable { headings: Vec::new(), rows: Vec::new() }.passed(), "nothing ran");
    }
}
