//! The matrix of a run on several page sizes, the reference setup's: a cell for each host, granule and size of
//! virtual addresses, read from the names of the cases (`…/granule=16k/va=47/host=4k`).

use super::table::{Cell, TextTable};
use crate::record::{Case, CaseStanding, RunRecord};
use crate::text::one_line;
use anstyle::{AnsiColor, Style};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

/// What stands where the cases leave something to the guest.
const USUAL: &str = "usual";

/// A host and a granule.
type RowKey = (String, String);

/// What the cases of a combination came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct CombinationSum {
    passed: u64,
    failed: u64,
    inconclusive: u64,
    skipped: u64,
}

pub(super) fn write(record: &RunRecord, to: &mut dyn Write, colour: bool) -> io::Result<()> {
    if !record.has_matrix() {
        return Ok(());
    }
    let mut rows: BTreeMap<RowKey, BTreeMap<String, CombinationSum>> = BTreeMap::new();
    for case in &record.cases {
        let word = |key| parameter(case.name(), key).unwrap_or(USUAL).to_owned();
        let row = rows.entry((word("host"), word("granule"))).or_default();
        row.entry(word("va")).or_default().add(case);
    }
    let columns: BTreeSet<&String> = rows.values().flat_map(BTreeMap::keys).collect();
    let bits = columns.iter().map(|bits| match bits.as_str() {
        USUAL => USUAL.to_owned(),
        bits => format!("VA {bits}"),
    });
    let headings: Vec<String> =
        ["HOST", "GRANULE"].map(str::to_owned).into_iter().chain(bits).collect();
    let headings: Vec<String> = headings.iter().map(|heading| one_line(heading)).collect();
    let mut table = TextTable::new(&headings.iter().map(String::as_str).collect::<Vec<_>>());
    let mut rows: Vec<_> = rows.iter().collect();
    rows.sort_by_key(|((host, granule), _)| (order(host), order(granule)));
    for ((host, granule), sums) in rows {
        let cell = |bits: &&String| sums.get(*bits).map_or(Cell::plain("."), CombinationSum::cell);
        let words = [host, granule].map(|word| Cell::plain(one_line(word)));
        table.push(words.into_iter().chain(columns.iter().map(cell)).collect());
    }
    table.write(to, "", colour)?;
    writeln!(to, "a cell: its worst verdict, and how many of its cases; + some were skipped")?;
    writeln!(to)
}

/// The value of `key=` among the parts of a name.
fn parameter<'n>(name: &'n str, key: &str) -> Option<&'n str> {
    name.split('/').find_map(|part| part.strip_prefix(key)?.strip_prefix('='))
}

/// Page sizes by their number, then by the rest.
fn order(word: &str) -> (u64, &str) {
    let digits = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    (word[..digits].parse().unwrap_or(u64::MAX), word)
}

impl CombinationSum {
    fn add(&mut self, case: &Case) {
        let count = match case.standing() {
            CaseStanding::Passed => &mut self.passed,
            CaseStanding::Failed => &mut self.failed,
            CaseStanding::Inconclusive => &mut self.inconclusive,
            CaseStanding::Skipped => &mut self.skipped,
        };
        *count += 1;
    }

    /// The worst, in a word that needs no colour.
    fn cell(&self) -> Cell {
        let Self { passed, failed, inconclusive, skipped } = *self;
        let more = if skipped > 0 && passed + failed + inconclusive > 0 { "+" } else { "" };
        let (word, style) = match self {
            _ if failed > 0 => (format!("DIFFERS {failed}"), AnsiColor::Red.on_default().bold()),
            _ if inconclusive > 0 => {
                (format!("inconclusive {inconclusive}"), AnsiColor::Yellow.on_default().bold())
            }
            _ if passed > 0 => (format!("identical {passed}"), AnsiColor::Green.on_default()),
            _ => (format!("skipped {skipped}"), Style::new().dimmed()),
        };
        Cell::styled(format!("{word}{more}"), style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CaseBuilder;
    use memtwin_pages::Layout;

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
