//! The one place where what a session has shown becomes a case: what was compared, unless something is known
//! that makes the comparison no proof.

use memtwin_report::record::{JudgeFacts, JudgeKind, LostPage, PageAt, RegionDigests};
use memtwin_report::{Case, CaseBuilder};
use std::collections::BTreeMap;

/// What is known of a case when its session has ended. What was not asked of it stays at its default.
#[derive(Clone, Debug, Default)]
pub struct CaseFacts {
    /// Why there was no comparison that counts: the session broke off, or a judge could not read.
    pub broken: Option<String>,
    /// Every lost page that was seen.
    pub lost: Vec<LostPage>,
    /// The digests of the last comparison, by region.
    pub digests: BTreeMap<String, RegionDigests>,
    /// Of a control: the pages that were suppressed on purpose.
    pub injected: Option<Vec<PageAt>>,
    /// How many pages the guest gave up, and that were not judged.
    pub given_up: u64,
    /// How it was judged, where that was chosen.
    pub judge: Option<JudgeFacts>,
    /// What makes the comparison no proof, however it ended.
    pub overrides: Vec<Override>,
}

/// Why a comparison proves nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Override {
    /// No twin was kept.
    TwinDiscarded,
    /// The stop was not reached with this region.
    NeverCompared,
    /// This many pages differ that the hypervisor never sent.
    NeverSent(u64),
    /// It is not known whether pages that differ were lost or given up: why.
    Unclear(String),
    /// This many pages differ, and no pause has told lost ones from late ones.
    Unconfirmed(u64),
    /// The control suppressed nothing.
    NothingSuppressed,
    /// The guest wrote nothing.
    NothingWritten,
    /// The log named nothing, so it was not put to the test: why.
    NothingLogged(String),
    /// This log can lose what it holds, so an identical twin is luck: why. A loss that was not injected is
    /// a verdict all the same.
    Overflows(String),
}

/// The verdict of a case.
///
/// A loss that was seen and not injected stays one, whatever overrides the rest ([`CaseBuilder::inconclusive`]).
pub fn verdict_of(trial: CaseBuilder, facts: CaseFacts) -> Case {
    let overridden = facts.overrides.iter().find(|reason| reason.holds(&facts)).cloned();
    let trial = facts.enter(trial);
    let is_swept = facts.is_swept();
    let CaseFacts { broken, lost, digests, .. } = facts;
    match (broken, overridden) {
        (Some(reason), _) => trial.inconclusive(reason, lost),
        (None, Some(Override::TwinDiscarded)) => trial.not_judged(DISCARDED),
        (None, Some(reason)) => trial.inconclusive(reason.text(), lost),
        // Whoever found no loss and has neither digest nor sweep has compared nothing: that is no pass.
        (None, None) if lost.is_empty() && digests.is_empty() && !is_swept => {
            trial.inconclusive(Override::NeverCompared.text(), lost)
        }
        (None, None) => trial.judged(lost, digests),
    }
}

impl CaseFacts {
    /// The trial with what is known beside the verdict.
    pub(crate) fn enter(&self, trial: CaseBuilder) -> CaseBuilder {
        let trial = trial.discarded(self.given_up);
        let trial = match self.judge {
            Some(judge) => trial.judged_by(judge),
            None => trial,
        };
        match &self.injected {
            Some(injected) => trial.control(injected.iter().cloned()),
            None => trial,
        }
    }

    /// Whether all pages were compared while the guest ran.
    fn is_swept(&self) -> bool {
        self.judge.is_some_and(|judge| judge.kind == JudgeKind::Running && judge.sweeps > 0)
    }
}

const DISCARDED: &str = "a twin that was discarded can't be judged";

impl Override {
    /// Whether it overrides what was compared.
    fn holds(&self, facts: &CaseFacts) -> bool {
        match self {
            Self::Overflows(_) => {
                let injected = facts.injected.as_deref().unwrap_or_default();
                facts.lost.iter().all(|page| injected.contains(&page.at()))
            }
            Self::TwinDiscarded
            | Self::NeverCompared
            | Self::NeverSent(_)
            | Self::Unclear(_)
            | Self::Unconfirmed(_)
            | Self::NothingSuppressed
            | Self::NothingWritten
            | Self::NothingLogged(_) => true,
        }
    }

    /// The case's reason.
    fn text(self) -> String {
        match self {
            Self::TwinDiscarded => DISCARDED.to_owned(),
            Self::NeverCompared => "it was never compared".to_owned(),
            Self::NeverSent(pages) => {
                format!("{pages} pages differ that QEMU never sent: discarded memory?")
            }
            Self::Unconfirmed(pages) => format!(
                "{pages} pages differ that the log had to name and has not: lost, or written by something that \
                 tells the log late (a disk's DMA); a pause of milliseconds tells which: without --never-pause"
            ),
            Self::NothingSuppressed => "the control had no changed page to keep back".to_owned(),
            Self::NothingWritten => "the guest wrote nothing".to_owned(),
            Self::Unclear(why) | Self::NothingLogged(why) | Self::Overflows(why) => why,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_pages::{Gpa, Layout};
    use memtwin_report::record::{Blake3, RecordedDigest, Verdict};

    fn lost(gpa: u64) -> LostPage {
        let (region, gpa) = ("ram".to_owned(), Gpa(gpa));
        let (first_byte, bytes) = (0, 1);
        LostPage { region, gpa, last_round: 0, first_byte, bytes, hint: None, detail: None }
    }

    /// One region was compared, and no page of it differs.
    fn compared() -> CaseFacts {
        let digest = RecordedDigest { blake3: Blake3([0; 32]), bsd_sum: 0 };
        let digests = RegionDigests { memory: digest, twin: digest };
        CaseFacts { digests: [("ram".to_owned(), digests)].into(), ..CaseFacts::default() }
    }

    fn case(facts: CaseFacts) -> (Verdict, String) {
        let case = verdict_of(CaseBuilder::new("case", "test", &Layout::default()), facts);
        (case.verdict(), case.reason().unwrap_or_default().to_owned())
    }

    #[test]
    fn the_first_override_that_holds_is_the_reason() {
        let why = |overrides: Vec<Override>| case(CaseFacts { overrides, ..compared() });
        assert_eq!(why(vec![]).0, Verdict::Identical);
        let two = vec![Override::NeverSent(2), Override::NothingWritten];
        let (verdict, reason) = why(two);
        assert_eq!(verdict, Verdict::Inconclusive);
        assert!(reason.starts_with("2 pages differ that QEMU never sent"), "{reason}");
        assert_eq!(why(vec![Override::TwinDiscarded]).0, Verdict::Skipped);
        let broken = Some("the guest died".to_owned());
        let overrides = vec![Override::TwinDiscarded];
        let both = case(CaseFacts { broken, overrides, ..CaseFacts::default() });
        assert_eq!(both, (Verdict::Inconclusive, "the guest died".to_owned()));
    }

    /// The control has the digests of what was compared.
    #[test]
    fn what_was_never_compared_is_no_pass() {
        let never = "it was never compared".to_owned();
        assert_eq!(case(CaseFacts::default()), (Verdict::Inconclusive, never));
        assert_eq!(case(compared()).0, Verdict::Identical);
        let lost = CaseFacts { lost: vec![lost(8)], ..CaseFacts::default() };
        assert_eq!(case(lost).0, Verdict::Differs);
    }

    #[test]
    fn a_sweep_is_a_comparison_and_no_sweep_is_none() {
        let swept = |sweeps| {
            let kind = JudgeKind::Running;
            let judge = JudgeFacts {
                kind,
                sweeps,
                pages_compared: 8,
                suspects: 0,
                dismissed: 0,
                confirmed: 0,
                paused_us: None,
                read_bytes_per_second: None,
            };
            case(CaseFacts { judge: Some(judge), ..CaseFacts::default() }).0
        };
        assert_eq!((swept(1), swept(0)), (Verdict::Identical, Verdict::Inconclusive));
    }

    /// A ring that overflows makes luck of an identical twin, but not of a loss.
    #[test]
    fn a_loss_that_was_not_injected_is_a_verdict_of_a_log_that_overflows() {
        let facts = |pages: &[u64], injected: Option<u64>| CaseFacts {
            lost: pages.iter().copied().map(lost).collect(),
            injected: injected.map(|gpa| vec![lost(gpa).at()]),
            overrides: vec![Override::Overflows("it overflows".to_owned())],
            ..CaseFacts::default()
        };
        assert_eq!(case(facts(&[], None)).0, Verdict::Inconclusive);
        assert_eq!(case(facts(&[8], Some(8))).0, Verdict::Inconclusive);
        assert_eq!(case(facts(&[8], None)), (Verdict::Differs, String::new()));
        assert_eq!(case(facts(&[8, 16], Some(8))), (Verdict::Differs, String::new()));
    }
}
