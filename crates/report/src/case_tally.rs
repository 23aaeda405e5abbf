//! The cases of a run, counted.

use crate::record::{Case, CaseStanding, Verdict, total};
use std::collections::BTreeMap;

/// How many cases came to what. A control that was judged counts as a control only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CaseTally {
    pub(crate) cases: u64,
    pub(crate) identical: u64,
    /// How many of those were compared, but their log was not put to the test.
    pub(crate) idle: u64,
    pub(crate) differs: u64,
    pub(crate) inconclusive: u64,
    pub(crate) skipped: u64,
    pub(crate) controls: u64,
    pub(crate) controls_found: u64,
    /// Pages that the logs named, in the cases that came to a verdict.
    pub(crate) judged_pages: u64,
    /// Pages that nobody injected.
    pub(crate) lost_pages: u64,
    /// Pages that the guest gave up; a control's are those of its case.
    pub(crate) discarded_pages: u64,
    /// Why cases were skipped, and how many for each reason.
    pub(crate) skip_reasons: BTreeMap<String, u64>,
}

impl CaseTally {
    pub(crate) fn of(cases: &[Case]) -> Self {
        let mut tally = Self { cases: cases.len() as u64, ..Self::default() };
        cases.iter().for_each(|case| tally.add(case));
        tally
    }

    /// How many cases are successes.
    pub(crate) fn passed(&self) -> u64 {
        self.identical + self.controls_found
    }

    /// How many cases have a verdict that is none.
    pub(crate) fn failed(&self) -> u64 {
        self.differs + (self.controls - self.controls_found)
    }

    fn add(&mut self, case: &Case) {
        self.lost_pages += case.unexplained().count() as u64;
        if case.control().is_none() {
            let pages = [self.discarded_pages, case.discarded_pages()];
            self.discarded_pages = total(pages.into_iter());
        }
        match (case.verdict(), case.control()) {
            (Verdict::Inconclusive, _) => self.inconclusive += 1,
            (Verdict::Skipped, _) => {
                self.skipped += 1;
                let reason = crate::text::one_line(case.reason().unwrap_or_default());
                *self.skip_reasons.entry(reason).or_default() += 1;
            }
            (_, Some(_)) => {
                self.controls += 1;
                self.controls_found += u64::from(case.standing() == CaseStanding::Passed);
            }
            (Verdict::Identical, None) => {
                self.identical += 1;
                self.idle += u64::from(case.is_idle());
            }
            (Verdict::Differs, None) => self.differs += 1,
        }
        if matches!(case.verdict(), Verdict::Identical | Verdict::Differs) {
            self.judged_pages = total([self.judged_pages, case.dirty_pages()].into_iter());
        }
    }
}
