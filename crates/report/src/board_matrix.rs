//! The matrix of a run on several page sizes, the reference setup's: a cell for each host, granule and size of
//! virtual addresses, read from the names of the cases (`…/granule=16k/va=47/host=4k`).

use crate::record::{Case, CaseStanding, RunRecord};
use std::collections::{BTreeMap, BTreeSet};

/// What stands where the cases leave something to the guest.
pub const USUAL: &str = "usual";

/// The matrix of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardMatrix {
    /// The sizes of virtual addresses, in bits, or [`USUAL`].
    pub columns: Vec<String>,
    /// The rows, the smallest page first.
    pub rows: Vec<BoardRow>,
}

/// A host and a granule of the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardRow {
    /// The host, by its page size.
    pub host: String,
    /// The guest's granule, or [`USUAL`].
    pub granule: String,
    /// What stands in each column, if there was a case.
    pub cells: Vec<Option<CombinationSum>>,
}

/// What the cases of a combination came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CombinationSum {
    /// How many passed.
    pub passed: u64,
    /// How many failed.
    pub failed: u64,
    /// How many have no verdict.
    pub inconclusive: u64,
    /// How many did not run.
    pub skipped: u64,
}

impl BoardMatrix {
    /// The matrix of a run, if its cases say on which host they ran.
    pub fn of(record: &RunRecord) -> Option<Self> {
        if !record.has_matrix() {
            return None;
        }
        let mut rows: BTreeMap<(&str, &str), BTreeMap<&str, CombinationSum>> = BTreeMap::new();
        for case in &record.cases {
            let word = |key| parameter(case.name(), key).unwrap_or(USUAL);
            let row = rows.entry((word("host"), word("granule"))).or_default();
            row.entry(word("va")).or_default().add(case);
        }
        let columns: BTreeSet<&str> = rows.values().flat_map(|row| row.keys().copied()).collect();
        let mut rows: Vec<_> = rows.iter().collect();
        rows.sort_by_key(|((host, granule), _)| (order(host), order(granule)));
        let rows = rows.into_iter().map(|((host, granule), sums)| BoardRow {
            host: (*host).to_owned(),
            granule: (*granule).to_owned(),
            cells: columns.iter().map(|bits| sums.get(bits).copied()).collect(),
        });
        Some(Self {
            rows: rows.collect(),
            columns: columns.into_iter().map(str::to_owned).collect(),
        })
    }
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

    /// The worst of them.
    pub fn worst(&self) -> CaseStanding {
        match self {
            _ if self.failed > 0 => CaseStanding::Failed,
            _ if self.inconclusive > 0 => CaseStanding::Inconclusive,
            _ if self.passed > 0 => CaseStanding::Passed,
            _ => CaseStanding::Skipped,
        }
    }

    /// The worst and how many cases it has, in words that need no colour; `+` if some were skipped.
    pub fn words(&self) -> String {
        let Self { passed, failed, inconclusive, skipped } = *self;
        let more = if skipped > 0 && passed + failed + inconclusive > 0 { "+" } else { "" };
        match self.worst() {
            CaseStanding::Failed => format!("DIFFERS {failed}{more}"),
            CaseStanding::Inconclusive => format!("inconclusive {inconclusive}{more}"),
            CaseStanding::Passed => format!("identical {passed}{more}"),
            CaseStanding::Skipped => format!("skipped {skipped}{more}"),
        }
    }
}
