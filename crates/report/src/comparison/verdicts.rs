//! What became of a case's verdict.

use super::change::Change;
use super::runs::Standings;

/// How unlikely more failures must be by chance alone, where a case had failed before.
const CHANCE: f64 = 0.01;

/// What became of it, and why it is no longer the same.
pub(super) fn change(before: Option<Standings>, after: Option<Standings>) -> (Change, String) {
    let (was, is) = match (before, after) {
        (None, None) => return (Change::Same, String::new()),
        (None, Some(is)) if is.failed > 0 => {
            return (Change::Worse, format!("was not there, and now {is}"));
        }
        (None, Some(is)) => return (Change::Same, format!("was not there, and now {is}")),
        // What never ran has not been known.
        (Some(was), None) if was.runs() == was.skipped => {
            return (Change::Same, "was skipped, and is gone".to_owned());
        }
        (Some(was), None) => return (Change::Worse, format!("{was}, and is gone")),
        (Some(was), Some(is)) => (was, is),
    };
    let found = verdict(was, is);
    let why = if found == Change::Same && (was.failed > 0) == (is.failed > 0) {
        String::new()
    } else {
        format!("was {was}, is {is}")
    };
    (found, why)
}

fn verdict(was: Standings, is: Standings) -> Change {
    match (was.failed > 0, is.failed > 0) {
        (false, true) => Change::Worse,
        (true, true) if chance(was, is) < CHANCE => Change::Worse,
        (true, true) if chance(is, was) < CHANCE => Change::Better,
        (true, true) => Change::Same,
        (true, false) if is.passed > 0 && is.inconclusive == 0 => match chance(is, was) {
            // A fault that shows in a few runs only may just not have shown.
            chance if chance < CHANCE || was.passed == 0 => Change::Better,
            _ => Change::Same,
        },
        (true, false) | (false, false) if is.passed == 0 && was.judged() > 0 => {
            if is.inconclusive > 0 { Change::Unknown } else { Change::Worse }
        }
        (_, false) if is.inconclusive > 0 && was.inconclusive == 0 => Change::Unknown,
        (false, false) if was.passed == 0 && is.passed > 0 => Change::Better,
        (_, false) => Change::Same,
    }
}

/// How likely it is that `is` has so many failures or more if it fails no oftener than `was`: Fisher's exact
/// test, one-sided.
fn chance(was: Standings, is: Standings) -> f64 {
    let (runs, failed) = (was.judged() + is.judged(), was.failed + is.failed);
    let mut factorials = vec![0.0];
    let mut ln = 0.0;
    factorials.extend((1..=runs).map(|n| {
        ln += (n as f64).ln();
        ln
    }));
    let factorial = |n: u64| factorials.get(n as usize).copied().unwrap_or_default();
    let ln_choose = |n: u64, k: u64| factorial(n) - factorial(k) - factorial(n - k);
    let of = |n: u64| {
        (failed - n <= was.judged()).then(|| {
            let ways = ln_choose(is.judged(), n) + ln_choose(was.judged(), failed - n);
            (ways - ln_choose(runs, failed)).exp()
        })
    };
    (is.failed..=failed.min(is.judged())).filter_map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(passed: u64, failed: u64, inconclusive: u64, skipped: u64) -> Option<Standings> {
        Some(Standings { passed, failed, inconclusive, skipped })
    }

    #[test]
    fn each_pair_of_verdicts_has_its_change() {
        let pairs = [
            (runs(1, 0, 0, 0), runs(1, 0, 0, 0), Change::Same),
            (runs(1, 0, 0, 0), runs(0, 1, 0, 0), Change::Worse),
            (runs(0, 1, 0, 0), runs(1, 0, 0, 0), Change::Better),
            (runs(0, 1, 0, 0), runs(0, 1, 0, 0), Change::Same),
            (runs(1, 0, 0, 0), runs(0, 0, 1, 0), Change::Unknown),
            (runs(0, 1, 0, 0), runs(0, 0, 1, 0), Change::Unknown),
            (runs(0, 0, 1, 0), runs(0, 0, 1, 0), Change::Same),
            (runs(0, 0, 1, 0), runs(1, 0, 0, 0), Change::Better),
            (runs(0, 0, 0, 1), runs(0, 0, 0, 1), Change::Same),
            (runs(0, 0, 0, 1), runs(0, 1, 0, 0), Change::Worse),
            (runs(1, 0, 0, 0), runs(0, 0, 0, 1), Change::Worse),
            (runs(1, 0, 0, 0), None, Change::Worse),
            (runs(0, 1, 0, 0), None, Change::Worse),
            (runs(0, 0, 0, 1), None, Change::Same),
            (None, runs(1, 0, 0, 0), Change::Same),
            (None, runs(0, 1, 0, 0), Change::Worse),
            // Of several runs.
            (runs(9, 1, 0, 0), runs(8, 2, 0, 0), Change::Same),
            (runs(9, 1, 0, 0), runs(0, 10, 0, 0), Change::Worse),
            (runs(0, 10, 0, 0), runs(9, 1, 0, 0), Change::Better),
            (runs(9, 1, 0, 0), runs(10, 0, 0, 0), Change::Same),
            (runs(10, 0, 0, 0), runs(9, 1, 0, 0), Change::Worse),
            (runs(3, 0, 0, 0), runs(2, 0, 1, 0), Change::Unknown),
        ];
        for (was, is, expected) in pairs {
            assert_eq!(change(was, is).0, expected, "{was:?} -> {is:?}");
        }
    }

    #[test]
    fn chance_is_fishers() {
        let runs = |passed, failed| Standings { passed, failed, ..Standings::default() };
        // The lady tasting tea: three of four right, or all four.
        let tea = chance(runs(3, 1), runs(1, 3));
        assert!((tea - 17.0 / 70.0).abs() < 1e-9, "{tea}");
        assert!((chance(runs(1, 0), runs(0, 1)) - 0.5).abs() < 1e-9);
        assert!((chance(runs(0, 5), runs(0, 5)) - 1.0).abs() < 1e-9);
    }
}
