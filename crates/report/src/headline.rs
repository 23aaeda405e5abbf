//! What records came to, in one sentence: never a success that was not seen.

use crate::case_tally::CaseTally;
use crate::human::KVM_NOT_TESTED;
use crate::record::{CaseStanding, RunRecord, Verdict};
use crate::text::count;

/// The verdict of a run in one sentence, and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headline {
    /// The worst of the cases; skipped if none ran.
    pub standing: CaseStanding,
    /// The sentence.
    pub sentence: String,
}

impl Headline {
    /// Of one run.
    pub fn of(record: &RunRecord) -> Self {
        Self::of_all([record])
    }

    /// Of several runs together.
    pub fn of_all<'r>(records: impl IntoIterator<Item = &'r RunRecord>) -> Self {
        let records: Vec<&RunRecord> = records.into_iter().collect();
        let mut facts = Facts::default();
        records.iter().for_each(|record| facts.add(record));
        let standing = facts.standing();
        Self { standing, sentence: facts.sentence(standing) }
    }
}

/// What the sentence is made of.
#[derive(Debug, Default)]
struct Facts {
    cases: u64,
    passed: u64,
    differ: u64,
    missed_controls: u64,
    inconclusive: u64,
    skipped: u64,
    idle: u64,
    lost: u64,
    judged: u64,
    kvm_not_tested: bool,
}

impl Facts {
    fn add(&mut self, record: &RunRecord) {
        let tally = CaseTally::of(&record.cases);
        self.cases += tally.cases;
        self.passed += tally.passed();
        self.inconclusive += tally.inconclusive;
        self.skipped += tally.skipped;
        self.idle += tally.idle;
        self.lost = self.lost.saturating_add(tally.lost_pages);
        self.judged = self.judged.saturating_add(tally.judged_pages);
        self.kvm_not_tested |= record.kvm_not_tested();
        for case in record.cases.iter().filter(|case| case.standing() == CaseStanding::Failed) {
            // A control that saw nothing, or something else, is no lost page by itself.
            let is_control = case.control().is_some() && case.unexplained().next().is_none();
            let missed = is_control || case.verdict() == Verdict::Identical;
            *(if missed { &mut self.missed_controls } else { &mut self.differ }) += 1;
        }
    }

    fn standing(&self) -> CaseStanding {
        match self {
            _ if self.differ + self.missed_controls > 0 => CaseStanding::Failed,
            _ if self.inconclusive > 0 => CaseStanding::Inconclusive,
            _ if self.passed > 0 => CaseStanding::Passed,
            _ => CaseStanding::Skipped,
        }
    }

    fn sentence(&self, standing: CaseStanding) -> String {
        let of = count(self.cases, "case");
        let mut parts = Vec::new();
        match standing {
            CaseStanding::Failed => {
                if self.differ > 0 {
                    let what = match self.lost {
                        0 => "what was moved or kept is not what it was".to_owned(),
                        lost => format!("{} lost", count(lost, "page")),
                    };
                    parts.push(format!("{} of {of} differ: {what}", self.differ));
                }
                if self.missed_controls > 0 {
                    let controls = count(self.missed_controls, "control");
                    parts.push(format!(
                        "{controls} did not find what was injected, so nothing here is proven"
                    ));
                }
                parts.extend(
                    (self.inconclusive > 0).then(|| format!("{} inconclusive", self.inconclusive)),
                );
            }
            CaseStanding::Inconclusive => {
                parts.push(format!("{} of {of} inconclusive: no verdict", self.inconclusive));
                parts.extend((self.passed > 0).then(|| format!("{} verified", self.passed)));
            }
            CaseStanding::Passed => {
                let (judged, passed) = (count(self.judged, "dirty page"), self.passed);
                let skipped = match self.skipped {
                    0 => String::new(),
                    skipped => format!(", {skipped} skipped"),
                };
                parts.push(format!(
                    "Verified: {passed} of {of}{skipped}: no page lost, {judged} judged"
                ));
            }
            CaseStanding::Skipped if self.cases == 0 => {
                parts.push("Nothing is known: there was no case".to_owned());
            }
            CaseStanding::Skipped => {
                parts.push(format!("Nothing is known: {of} skipped"));
            }
        }
        if self.idle > 0 {
            parts.push(format!("{} not exercised after pre-copy", count(self.idle, "log")));
        }
        if self.kvm_not_tested {
            parts.push(KVM_NOT_TESTED.to_owned());
        }
        format!("{}.", parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::PageAt;
    use crate::{Case, CaseBuilder};
    use memtwin_pages::{Gpa, Layout};
    use std::collections::BTreeMap;

    fn trial(name: &str) -> CaseBuilder {
        CaseBuilder::new(name, "process", &Layout::default())
    }

    fn said(cases: Vec<Case>) -> (CaseStanding, String) {
        let Headline { standing, sentence } = Headline::of(&RunRecord::new("check", cases));
        (standing, sentence)
    }

    fn passed() -> Case {
        trial("process/once").judged(Vec::new(), BTreeMap::new())
    }

    #[test]
    fn a_success_is_said_only_of_cases_that_were_judged() {
        let (standing, sentence) = said(vec![passed()]);
        assert_eq!(standing, CaseStanding::Passed);
        assert_eq!(sentence, "Verified: 1 of 1 case: no page lost, 0 dirty pages judged.");
        let skipped = Case::skipped("kvm/get", "kvm", "no /dev/kvm");
        let (_, some) = said(vec![passed(), skipped.clone()]);
        assert!(some.starts_with("Verified: 1 of 2 cases, 1 skipped: "), "{some}");
        assert!(some.ends_with("; KVM NOT TESTED."), "{some}");
        assert_eq!(said(vec![skipped]).0, CaseStanding::Skipped);
        let (none, sentence) = said(Vec::new());
        assert_eq!(
            (none, &*sentence),
            (CaseStanding::Skipped, "Nothing is known: there was no case.")
        );
    }

    #[test]
    fn the_worst_case_is_the_one_that_counts() {
        let died = || trial("b").inconclusive("it died", Vec::new());
        assert_eq!(said(vec![passed(), died()]).0, CaseStanding::Inconclusive);
        let (standing, sentence) = said(vec![passed(), died(), trial("c").differs("the disk")]);
        assert_eq!(standing, CaseStanding::Failed);
        assert!(sentence.starts_with("1 of 3 cases differ"), "{sentence}");
        let at = PageAt { region: "ram".to_owned(), gpa: Gpa(0) };
        let blind = trial("d/control").control([at]).judged(Vec::new(), BTreeMap::new());
        let (standing, sentence) = said(vec![passed(), blind]);
        assert_eq!(standing, CaseStanding::Failed);
        assert!(sentence.contains("1 control did not find"), "{sentence}");
    }
}
