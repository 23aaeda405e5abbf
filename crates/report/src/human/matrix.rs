//! The matrix of a run on several page sizes, as text.

use super::style;
use super::table::{Cell, TextTable};
use crate::board_matrix::{BoardMatrix, USUAL};
use crate::record::RunRecord;
use crate::text::one_line;
use std::io::{self, Write};

pub(super) fn write(record: &RunRecord, to: &mut dyn Write, colour: bool) -> io::Result<()> {
    let Some(matrix) = BoardMatrix::of(record) else { return Ok(()) };
    let bits = matrix.columns.iter().map(|bits| match bits.as_str() {
        USUAL => USUAL.to_owned(),
        bits => format!("VA {}", one_line(bits)),
    });
    let headings: Vec<String> =
        ["HOST", "GRANULE"].map(str::to_owned).into_iter().chain(bits).collect();
    let mut table = TextTable::new(&headings.iter().map(String::as_str).collect::<Vec<_>>());
    for row in &matrix.rows {
        let words = [&row.host, &row.granule].map(|word| Cell::plain(one_line(word)));
        let sums = row.cells.iter().map(|sum| match sum {
            Some(sum) => Cell::styled(sum.words(), style(sum.worst())),
            None => Cell::plain("."),
        });
        table.push(words.into_iter().chain(sums).collect());
    }
    table.write(to, "", colour)?;
    writeln!(to, "a cell: its worst verdict, and how many of its cases; + some were skipped")?;
    writeln!(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Case, CaseBuilder};
    use memtwin_pages::Layout;
    use std::collections::BTreeMap;

    fn name(host: &str, granule: &str, va: u8, ending: &str) -> String {
        format!("kvm/get/shm/vcpus=1/once/granule={granule}/va={va}/host={host}{ending}")
    }

    fn trial(name: String) -> CaseBuilder {
        CaseBuilder::new(name, "kvm", &Layout::default())
    }

    #[test]
    fn each_verdict_is_a_word_of_its_own() {
        let passed = |host: &str, granule: &str, va| {
            trial(name(host, granule, va, "")).judged(Vec::new(), BTreeMap::new())
        };
        let skipped =
            |granule: &str, va| Case::skipped(name("4k", granule, va, ""), "kvm", "no such CPU");
        let cases = vec![
            passed("16k", "4k", 48),
            passed("4k", "4k", 48),
            passed("4k", "4k", 48),
            skipped("4k", 48),
            skipped("4k", 52),
            trial(name("4k", "16k", 47, "")).differs("a page"),
            trial(name("4k", "64k", 42, "")).inconclusive("it died", Vec::new()),
        ];
        let mut text = Vec::new();
        write(&RunRecord::new("check", cases), &mut text, false).unwrap();
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split("  ").map(str::trim).collect()).collect();
        let words = |line: usize| -> Vec<&str> {
            lines[line].iter().copied().filter(|word| !word.is_empty()).collect()
        };
        assert_eq!(words(0), ["HOST", "GRANULE", "VA 42", "VA 47", "VA 48", "VA 52"]);
        assert_eq!(words(1), ["4k", "4k", ".", ".", "identical 2+", "skipped 1"]);
        assert_eq!(words(2), ["4k", "16k", ".", "DIFFERS 1", ".", "."]);
        assert_eq!(words(3), ["4k", "64k", "inconclusive 1", ".", ".", "."]);
        assert_eq!(words(4), ["16k", "4k", ".", ".", "identical 1", "."]);
    }

    #[test]
    fn a_run_on_one_host_has_none() {
        let case = Case::skipped("kvm/get/shm/vcpus=1/once/granule=4k/va=48", "kvm", "no");
        let mut text = Vec::new();
        write(&RunRecord::new("check", vec![case]), &mut text, false).unwrap();
        assert!(text.is_empty());
    }
}
