//! Repeats `memtwin lab run migrate`: the same verdicts each time, and what the clocks saw.

use super::once::Once;
use super::options::Soak;
use super::outcome::{Outcomes, verdicts};
use crate::interrupt::Interrupt;
use crate::workspace::built;
use anyhow::Context;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// How long a run may take: three emulated boards boot, on a busy machine.
const LIMIT: Duration = Duration::from_secs(1500);

/// Runs it as often as asked; prints what differed, and the clocks. Whether nothing did.
pub(super) fn soak(soak: &Soak, interrupt: &Interrupt) -> anyhow::Result<bool> {
    let memtwin = built("memtwin", interrupt)?;
    let once = Once::new(soak, &memtwin, &["lab", "run", "migrate"], LIMIT)?;
    let (mut outcomes, mut clocks) = (Outcomes::default(), Clocks::default());
    let mut failed = 0;
    for n in 1..=soak.runs {
        let began = Instant::now();
        let record = match interrupt.is_set() {
            true => break,
            false => once.run(interrupt),
        };
        let took = began.elapsed();
        let read = |record: String| -> anyhow::Result<_> {
            let verdicts = verdicts(&record)?;
            Ok((verdicts, clocks.add(&record)?))
        };
        match record.and_then(read) {
            Ok((verdicts, guest)) => {
                let took = took.as_secs_f64();
                eprintln!("run {n:>3}: {} cases, guest: {guest}, in {took:.1} s", verdicts.len());
                outcomes.add(n, verdicts);
            }
            Err(error) => {
                eprintln!("run {n:>3}: {error:#}");
                failed += 1;
            }
        }
    }
    print!("{outcomes}{clocks}");
    println!("{failed} of {} runs failed", soak.runs);
    Ok(failed == 0 && outcomes.agree() && !interrupt.is_set())
}

/// What the clocks of all runs saw, in microseconds, without the time in which RAM was judged.
#[derive(Debug, Default)]
struct Clocks(BTreeMap<String, Vec<u64>>);

impl Clocks {
    /// Takes those of a record. Returns where its guest was at last.
    ///
    /// Errors: it has no migration.
    fn add(&mut self, record: &str) -> anyhow::Result<String> {
        let record: serde_json::Value = serde_json::from_str(record).context("no run record")?;
        let migration = &record["migration"];
        let guest = migration["guest"].as_str().context("a run record without a migration")?;
        let mut see = |name: &str, us: &serde_json::Value| {
            self.0.entry(name.to_owned()).or_default().extend(us.as_u64());
        };
        see("the whole move", &migration["total_us"]);
        see("judging RAM", &migration["verify_us"]);
        for clock in migration["clocks"].as_array().context("a migration without clocks")? {
            let name = clock["name"].as_str().context("a clock without a name")?;
            see(name, &clock["without_verify_us"]);
        }
        Ok(guest.to_owned())
    }
}

impl fmt::Display for Clocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        let width = self.0.keys().map(|name| name.chars().count()).max().unwrap_or(0);
        let head = "WITHOUT JUDGING RAM";
        let width = width.max(head.len());
        writeln!(f, "{head:<width$}  {:>12}  {:>12}  {:>12}", "LEAST", "MEDIAN", "MOST")?;
        for (name, seen) in &self.0 {
            let mut seen = seen.clone();
            seen.sort_unstable();
            let (Some(least), Some(most)) = (seen.first(), seen.last()) else { continue };
            // Of an even number the lower one: a time that was seen.
            let median = &seen[(seen.len() - 1) / 2];
            let ms = [least, median, most].map(|us| format!("{:.1} ms", *us as f64 / 1e3));
            writeln!(f, "{name:<width$}  {:>12}  {:>12}  {:>12}", ms[0], ms[1], ms[2])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(ping: u64) -> String {
        let clock = serde_json::json!({ "name": "ping", "us": 9, "without_verify_us": ping });
        let migration = serde_json::json!({
            "guest": "destination", "total_us": 1_000_000, "verify_us": 500, "clocks": [clock],
        });
        serde_json::json!({ "cases": [], "migration": migration }).to_string()
    }

    #[test]
    fn clocks_are_told_with_their_spread() {
        let mut clocks = Clocks::default();
        for ping in [3_000, 1_000, 2_500, 2_000] {
            assert_eq!(clocks.add(&record(ping)).unwrap(), "destination");
        }
        let table = clocks.to_string();
        let row = table.lines().find(|line| line.starts_with("ping")).unwrap();
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(words, ["ping", "1.0", "ms", "2.0", "ms", "3.0", "ms"]);
    }

    #[test]
    fn a_record_without_a_move_is_refused() {
        for nothing in ["", "{}", r#"{"migration": null}"#, r#"{"migration": {"guest": "source"}}"#]
        {
            assert!(Clocks::default().add(nothing).is_err(), "{nothing}");
        }
    }
}
