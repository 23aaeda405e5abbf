//! Repeats `memtwin check`.

use super::once::Once;
use super::options::{LIMIT, Soak};
use super::outcome::{Outcomes, verdicts};
use crate::interrupt::Interrupt;
use crate::workspace::built;
use std::time::Instant;

/// Runs it as often as asked; prints what differed. Whether nothing did.
pub(super) fn soak(soak: &Soak, interrupt: &Interrupt) -> anyhow::Result<bool> {
    let memtwin = built("memtwin", interrupt)?;
    let once = Once::new(soak, &memtwin, &["check"], LIMIT)?;
    let mut outcomes = Outcomes::default();
    let mut passed = true;
    for n in 1..=soak.runs {
        if interrupt.is_set() {
            return Ok(false);
        }
        let began = Instant::now();
        match once.run(interrupt).and_then(|record| verdicts(&record)) {
            Ok(verdicts) => {
                let took = began.elapsed().as_secs_f64();
                eprintln!("run {n:>3}: {} cases in {took:.1} s", verdicts.len());
                outcomes.add(n, verdicts);
            }
            Err(error) => {
                eprintln!("run {n:>3}: {error:#}");
                passed = false;
            }
        }
    }
    print!("{outcomes}");
    Ok(passed && outcomes.agree())
}
