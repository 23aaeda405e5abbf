//! Repeats the audits of the layouts that are sound. The records of those that were not as expected
//! are kept.

use super::options::Soak;
use crate::interrupt::Interrupt;
use crate::repro::Terminal;
use crate::workspace::{built, root};
use anyhow::{Context, bail};
use memtwin_bare::{Expected, Scenario};
use memtwin_repro::ReproRun;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long each audit follows its guest.
const TIME: Duration = Duration::from_secs(2);

/// Audits every sound layout as often as asked, or those that are named. Whether all was as expected.
pub(super) fn soak(soak: &Soak, audit: &[&str], interrupt: &Interrupt) -> anyhow::Result<bool> {
    let scenarios = chosen(&soak.arguments)?;
    let memtwin = built("memtwin", interrupt)?;
    let folder = root().join("target/soak/audit");
    fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
    let mut table = ScenarioTable::default();
    for (scenario, expected) in scenarios {
        for n in 1..=soak.runs {
            if interrupt.is_set() {
                print!("{table}");
                return Ok(false);
            }
            let began = Instant::now();
            let once = SoakedAudit { scenario, expected: &expected, audit, memtwin: &memtwin };
            let outcome = once.run(&folder.join(format!("{scenario}-{n}.json")), interrupt);
            let took = began.elapsed().as_secs_f64();
            let (Ok(word) | Err(word)) = &outcome;
            eprintln!("{scenario:<22} run {n:>3}: {word} ({took:.1} s)");
            table.add(scenario, n, outcome.err());
        }
    }
    print!("{table}");
    Ok(table.passed())
}

/// The scenarios of these names; without any, all in which the installed QEMU is sound.
fn chosen(names: &[String]) -> anyhow::Result<Vec<(Scenario, Expected)>> {
    let mut chosen = Vec::new();
    for scenario in Scenario::ALL {
        if !names.is_empty() && !names.iter().any(|name| name == scenario.name()) {
            continue;
        }
        match scenario.machine().version() {
            Ok(version) => match scenario.expected(version, "") {
                Some(sound @ (Expected::Identical | Expected::AtMoments { .. })) => {
                    chosen.push((scenario, sound));
                }
                _ if names.is_empty() => {}
                _ => bail!("{scenario} is not known to be sound in QEMU {version}"),
            },
            Err(error) if names.is_empty() => eprintln!("{scenario:<22} left out: {error}"),
            Err(error) => return Err(error.into()),
        }
    }
    let unknown = |name: &&String| !chosen.iter().any(|(scenario, _)| scenario.name() == *name);
    if let Some(name) = names.iter().find(unknown) {
        bail!("no scenario '{name}'; cargo xtask repro lists them");
    }
    Ok(chosen)
}

/// An audit that is repeated.
struct SoakedAudit<'s> {
    scenario: Scenario,
    expected: &'s Expected,
    /// Its options.
    audit: &'s [&'s str],
    memtwin: &'s Path,
}

impl SoakedAudit<'_> {
    /// What was found. Errors: what was not as expected, and where its record is kept.
    fn run(&self, record: &Path, interrupt: &Interrupt) -> Result<String, String> {
        let run = ReproRun {
            machine: self.scenario.machine(),
            expected: self.expected.clone(),
            memtwin: self.memtwin,
            time: TIME,
            arguments: &[],
            audit: self.audit,
            record,
        };
        let seen =
            run.run(&mut Terminal { interrupt, quiet: true }).map_err(|error| error.to_string());
        let failure = match seen {
            Ok(seen) if seen.found.as_expected() => {
                // Only what may tell something is kept.
                let _ = fs::remove_file(record);
                return Ok(seen.found.what);
            }
            Ok(seen) => seen.found.to_string(),
            Err(error) => error,
        };
        if record.exists() {
            return Err(format!("{failure}; record {}", record.display()));
        }
        Err(failure)
    }
}

/// What came of each scenario's runs.
#[derive(Default)]
struct ScenarioTable(Vec<Row>);

struct Row {
    scenario: Scenario,
    runs: usize,
    /// By the run's number, what was not as expected.
    failures: Vec<(u32, String)>,
}

impl ScenarioTable {
    fn add(&mut self, scenario: Scenario, n: u32, failure: Option<String>) {
        if self.0.last().is_none_or(|row| row.scenario != scenario) {
            self.0.push(Row { scenario, runs: 0, failures: Vec::new() });
        }
        if let Some(row) = self.0.last_mut() {
            row.runs += 1;
            row.failures.extend(failure.map(|failure| (n, failure)));
        }
    }

    /// Whether there was something, and nothing failed.
    fn passed(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|row| row.failures.is_empty())
    }
}

impl std::fmt::Display for ScenarioTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for Row { scenario, runs, failures } in &self.0 {
            writeln!(f, "{scenario:<22} {} of {runs} as expected", runs - failures.len())?;
            for (n, failure) in failures {
                writeln!(f, "    run {n}: {failure}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_fails_all_and_is_shown() {
        let mut table = ScenarioTable::default();
        assert!(!table.passed(), "nothing was run");
        table.add(Scenario::Writer, 1, None);
        table.add(Scenario::Writer, 2, None);
        assert!(table.passed());
        table.add(Scenario::WriterKvm, 1, Some("lost: 1 of pc.ram".to_owned()));
        assert!(!table.passed());
        let shown = table.to_string();
        assert!(shown.contains("writer                 2 of 2 as expected\n"), "{shown}");
        assert!(shown.contains("0 of 1 as expected\n    run 1: lost: 1 of pc.ram\n"), "{shown}");
    }

    #[test]
    fn only_scenarios_are_soaked() {
        let error = chosen(&["wolker".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("no scenario 'wolker'"), "{error}");
    }
}
