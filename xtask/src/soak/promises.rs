//! Repeats the tests behind the promises of docs/promises.md, and counts for each of them.
//!
//! The table here and the one in the document name the same tests: a promise whose test is gone fails here.

use super::options::Soak;
use crate::interrupt::Interrupt;
use crate::run::{ProgramEnd, run};
use crate::workspace::root;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long one set of tests may take, unless asked otherwise.
const LIMIT: Duration = Duration::from_secs(1200);

/// Tests of one target: the package without its prefix, the target (`lib`, or a file of its tests), and a
/// part of their names, empty for all.
type Tests = (&'static str, &'static str, &'static str);

/// A promise, and the tests that show it.
struct Promise {
    name: &'static str,
    tests: &'static [Tests],
}

const PROMISES: [Promise; 14] = [
    Promise {
        name: "bounds of the wire",
        tests: &[("wire", "any_bytes", ""), ("remote", "hostile", "")],
    },
    Promise {
        name: "integrity of each frame and round",
        tests: &[("remote", "recorded", ""), ("remote", "proxy", "damage_")],
    },
    Promise { name: "versions", tests: &[("wire", "golden", ""), ("remote", "left", "version")] },
    Promise { name: "resume", tests: &[("remote", "proxy", ""), ("remote", "left", "")] },
    Promise { name: "crash", tests: &[("remote", "killed", ""), ("powerloss", "remote", "")] },
    Promise {
        name: "nothing half-written is taken for whole",
        tests: &[("powerloss", "local", ""), ("memtwin", "verify", "unfinished")],
    },
    Promise {
        name: "a disk that gets full",
        tests: &[("memtwin", "remote", "full"), ("remote", "refused", "")],
    },
    Promise {
        name: "hostile peers and neighbours",
        tests: &[("remote", "hostile", ""), ("remote", "tls", ""), ("safe-path", "planted", "")],
    },
    Promise {
        name: "a garbled stream",
        tests: &[("stream", "mutate", ""), ("stream", "refusals", ""), ("tap", "fake", "agree")],
    },
    Promise {
        name: "what does not converge",
        tests: &[("memtwin", "remote", "converge"), ("memtwin", "migration", "converge")],
    },
    Promise {
        name: "QEMU's death, and its guest's pause",
        tests: &[
            ("memtwin", "audit", "qemu_is_killed"),
            ("memtwin", "audit", "operator_ends"),
            ("memtwin", "audit", "pause::"),
        ],
    },
    Promise {
        name: "signals",
        tests: &[("memtwin", "audit", "memtwin_is"), ("memtwin", "nohup", "")],
    },
    Promise {
        name: "one owner",
        tests: &[("memtwin", "audit", "operator::"), ("tap", "fake", "not_ours")],
    },
    Promise {
        name: "known power",
        tests: &[("memtwin", "shim", ""), ("memtwin", "audit", "lying::")],
    },
];

/// How many tests passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct TestCount {
    passed: u64,
    failed: u64,
}

/// Runs them as often as asked. Whether every promise has tests, and none of them ever failed.
pub(super) fn soak(soak: &Soak, interrupt: &Interrupt) -> Result<bool> {
    let limit = soak.limit.map_or(LIMIT, Duration::from_secs);
    let Some(built) = Built::all(limit, interrupt)? else { return Ok(false) };
    let mut counts = [TestCount::default(); PROMISES.len()];
    for n in 1..=soak.runs {
        // Tests that show two promises run once.
        let mut done: HashMap<Tests, TestCount> = HashMap::new();
        for (promise, sum) in PROMISES.iter().zip(&mut counts) {
            for tests in promise.tests {
                let count = match done.get(tests) {
                    Some(count) => *count,
                    None => match built.run(tests, limit, interrupt)? {
                        Some(count) => count,
                        None => return Ok(false),
                    },
                };
                done.insert(*tests, count);
                sum.passed += count.passed;
                sum.failed += count.failed + u64::from(count == TestCount::default());
            }
            eprintln!("run {n:>3}: {}: {} passed, {} failed", promise.name, sum.passed, sum.failed);
        }
    }
    println!("| promise | tests passed in {} runs | failed |\n|---|---|---|", soak.runs);
    for (promise, TestCount { passed, failed }) in PROMISES.iter().zip(&counts) {
        println!("| {} | {passed} | {failed} |", promise.name);
    }
    Ok(counts.iter().all(|count| count.failed == 0))
}

/// The built tests of the whole workspace: built together, they share what is below them.
struct Built(Vec<Test>);

/// A target of tests.
struct Test {
    package: String,
    target: String,
    program: PathBuf,
    /// Where cargo runs it.
    folder: PathBuf,
}

impl Built {
    /// Builds them. `None`: interrupted.
    ///
    /// Errors: they can't be built.
    fn all(limit: Duration, interrupt: &Interrupt) -> Result<Option<Self>> {
        let out = tempfile::NamedTempFile::new().context("can't make a file")?;
        let mut command = Command::new("cargo");
        command.args(["test", "--workspace", "--no-run", "--message-format"]);
        command.arg("json-render-diagnostics").current_dir(root());
        command.stdout(File::create(out.path()).context("can't open it")?);
        match run(&mut command, limit, interrupt)? {
            ProgramEnd::Interrupted => return Ok(None),
            ended => ensure!(ended.is_success(), "cargo test --no-run: {ended}"),
        }
        let lines = fs::read_to_string(out.path()).context("can't read it")?;
        Ok(Some(Self(lines.lines().filter_map(test).collect())))
    }

    /// Runs the tests of one target once. `None`: interrupted.
    fn run(
        &self,
        tests: &Tests,
        limit: Duration,
        interrupt: &Interrupt,
    ) -> Result<Option<TestCount>> {
        let (package, target, filter) = *tests;
        let package = package_name(package);
        let test = self.0.iter().find(|test| test.package == package && test.target == target);
        let test = test.with_context(|| format!("{package} has no tests {target}"))?;
        let out = tempfile::NamedTempFile::new().context("can't make a file")?;
        let mut command = Command::new(&test.program);
        command.arg(filter).current_dir(&test.folder);
        command.stdout(File::create(out.path()).context("can't open it")?);
        let ended = run(&mut command, limit, interrupt)?;
        if ended == ProgramEnd::Interrupted {
            return Ok(None);
        }
        let said = fs::read_to_string(out.path()).context("can't read it")?;
        let mut count = count(&said);
        if !ended.is_success() {
            eprintln!("{package}, {target}: {ended}\n{said}");
        }
        // One that was killed counts as a test that failed.
        count.failed += u64::from(!ended.is_success() && count.failed == 0);
        Ok(Some(count))
    }
}

/// The tests that a line of cargo's is about (`cargo help build`, `--message-format`), if it is about any.
fn test(line: &str) -> Option<Test> {
    let line: Value = serde_json::from_str(line).ok()?;
    let manifest = Path::new(line["manifest_path"].as_str()?);
    let folder = manifest.parent()?.to_owned();
    let is_tests = line["target"]["kind"].as_array()?.iter().any(|kind| kind == "test");
    let package = match folder.file_name()?.to_str()? {
        short
            if ["crates", "dev"]
                .iter()
                .any(|kind| folder.parent().is_some_and(|above| above.ends_with(kind))) =>
        {
            package_name(short)
        }
        _ => return None,
    };
    let target = line["target"]["name"].as_str()?.to_owned();
    let program = line["executable"].as_str()?.into();
    is_tests.then_some(Test { package, target, program, folder })
}

fn package_name(short: &str) -> String {
    if short == "memtwin" { short.to_owned() } else { format!("memtwin-{short}") }
}

/// What `test result: ok. 3 passed; 0 failed; …` adds up to.
fn count(out: &str) -> TestCount {
    let number = |line: &str, word: &str| -> u64 {
        let part = line.split(';').find(|part| part.trim_end().ends_with(word));
        let number = part.and_then(|part| part.split_whitespace().rev().nth(1));
        number.and_then(|number| number.parse().ok()).unwrap_or_default()
    };
    out.lines().filter(|line| line.starts_with("test result:")).fold(
        TestCount::default(),
        |sum, line| TestCount {
            passed: sum.passed + number(line, "passed"),
            failed: sum.failed + number(line, "failed"),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_added_up_and_none_is_none() {
        let out = "running 3 tests\ntest a ... ok\n\ntest result: ok. 12 passed; 0 failed; 0 ignored; 0 \
                   measured; 1 filtered out; finished in 0.1s\n\ntest result: FAILED. 3 passed; 2 failed; 0 \
                   ignored";
        assert_eq!(count(out), TestCount { passed: 15, failed: 2 });
        assert_eq!(count("error: could not compile"), TestCount::default());
    }

    /// The document names each of them.
    #[test]
    fn tests_are_found_wherever_the_workspace_has_crates() {
        let line = |folder: &str| {
            format!(
                r#"{{"manifest_path":"/w/{folder}/Cargo.toml","executable":"/w/target/x",
                     "target":{{"kind":["test"],"name":"remote"}}}}"#
            )
        };
        let package = |folder| test(&line(folder)).map(|test| test.package);
        assert_eq!(package("crates/remote").as_deref(), Some("memtwin-remote"));
        assert_eq!(package("dev/powerloss").as_deref(), Some("memtwin-powerloss"));
        assert!(package("guest").is_none());
    }

    #[test]
    fn the_document_names_each_promise_and_its_tests() {
        let document = fs::read_to_string(root().join("docs/promises.md")).unwrap();
        for promise in &PROMISES {
            let row =
                document.lines().find(|line| line.starts_with(&format!("| {} |", promise.name)));
            let row = row.unwrap_or_else(|| panic!("no row of {}", promise.name));
            for (package, target, filter) in promise.tests {
                let test = format!("{package}/{target}");
                assert!(
                    row.contains(&test) && row.contains(filter),
                    "{}: {test} {filter}",
                    promise.name
                );
            }
        }
    }
}
