//! The verdicts of several runs, and where they differ.

use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::fmt;

/// What a run said of one case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CaseVerdict {
    word: String,
    pub(super) passed: bool,
}

impl fmt::Display for CaseVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.word, if self.passed { "passed" } else { "not passed" })
    }
}

/// What a run said, by case name.
pub(super) type Verdicts = BTreeMap<String, CaseVerdict>;

/// Reads the verdicts from a run record.
///
/// Errors: it is none, or has no cases: a run that tried nothing proves nothing.
pub(super) fn verdicts(record: &str) -> anyhow::Result<Verdicts> {
    let record: serde_json::Value = serde_json::from_str(record).context("no run record")?;
    let mut verdicts = Verdicts::new();
    for case in record["cases"].as_array().context("a run record without cases")? {
        let name = case["name"].as_str().context("a case without a name")?;
        let word = case["verdict"].as_str().context("a case without a verdict")?.to_owned();
        let passed = case["passed"].as_bool().context("a case that neither passed nor failed")?;
        if verdicts.insert(name.to_owned(), CaseVerdict { word, passed }).is_some() {
            bail!("two cases named {name}");
        }
    }
    if verdicts.is_empty() {
        bail!("a run record without a single case");
    }
    Ok(verdicts)
}

/// The verdicts of all runs.
#[derive(Debug, Default)]
pub(super) struct Outcomes(Vec<(u32, Verdicts)>);

impl Outcomes {
    /// Takes the verdicts of run number `n`.
    pub(super) fn add(&mut self, n: u32, verdicts: Verdicts) {
        self.0.push((n, verdicts));
    }

    /// Whether every run said the same.
    pub(super) fn agree(&self) -> bool {
        self.0.windows(2).all(|pair| pair[0].1 == pair[1].1)
    }

    /// By case name and verdict, the runs that said so; `None` where a run had no such case.
    fn by_case(&self) -> BTreeMap<&str, BTreeMap<Option<&CaseVerdict>, Vec<u32>>> {
        let names = self.0.iter().flat_map(|(_, verdicts)| verdicts.keys());
        let mut cases: BTreeMap<_, BTreeMap<_, Vec<u32>>> =
            names.map(|name| (name.as_str(), BTreeMap::new())).collect();
        for (name, said) in &mut cases {
            for (n, verdicts) in &self.0 {
                said.entry(verdicts.get(*name)).or_default().push(*n);
            }
        }
        cases
    }
}

impl fmt::Display for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cases = self.by_case();
        let (same, differing): (Vec<_>, Vec<_>) =
            cases.iter().partition(|(_, said)| said.len() == 1);
        for (name, said) in &differing {
            writeln!(f, "{name}")?;
            for (verdict, runs) in *said {
                let verdict = verdict.map_or("no such case".to_owned(), CaseVerdict::to_string);
                let runs: Vec<_> = runs.iter().map(u32::to_string).collect();
                writeln!(f, "    {verdict:<28} runs {}", runs.join(" "))?;
            }
        }
        let (runs, same, differing) = (self.0.len(), same.len(), differing.len());
        writeln!(f, "{runs} runs: {same} cases with one verdict, {differing} with several")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(cases: &[(&str, &str, bool)]) -> String {
        let cases: Vec<_> = cases
            .iter()
            .map(|(name, verdict, passed)| {
                serde_json::json!({ "name": name, "verdict": verdict, "passed": passed })
            })
            .collect();
        serde_json::json!({ "schema_version": 1, "cases": cases }).to_string()
    }

    fn outcomes(runs: &[&[(&str, &str, bool)]]) -> Outcomes {
        let mut outcomes = Outcomes::default();
        for (n, run) in (1..).zip(runs) {
            outcomes.add(n, verdicts(&record(run)).unwrap());
        }
        outcomes
    }

    #[test]
    fn the_same_verdicts_agree_in_whatever_order() {
        let (a, b) = (("a", "identical", true), ("b", "differs", true));
        let same = outcomes(&[&[a, b], &[b, a]]);
        assert!(same.agree());
        assert_eq!(same.to_string(), "2 runs: 2 cases with one verdict, 0 with several\n");
    }

    #[test]
    fn any_difference_is_named_with_its_runs() {
        let same = ("a", "identical", true);
        let differing = outcomes(&[
            &[same, ("b", "differs", true)],
            &[same, ("b", "differs", false)],
            &[same, ("b", "differs", true)],
            &[same],
        ]);
        assert!(!differing.agree());
        let table = differing.to_string();
        for line in [
            "b\n",
            "    no such case                 runs 4\n",
            "    differs (not passed)         runs 2\n",
            "    differs (passed)             runs 1 3\n",
            "4 runs: 1 cases with one verdict, 1 with several\n",
        ] {
            assert!(table.contains(line), "{line:?} is not in {table:?}");
        }
    }

    #[test]
    fn a_record_that_tells_nothing_is_refused() {
        for nothing in ["", "{}", r#"{"cases": []}"#, r#"{"cases": [{"name": "a"}]}"#] {
            assert!(verdicts(nothing).is_err(), "{nothing}");
        }
        assert!(verdicts(&record(&[("a", "identical", true), ("a", "differs", true)])).is_err());
    }
}
