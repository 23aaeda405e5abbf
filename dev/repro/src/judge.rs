//! What an audit's record says of a scenario.

use memtwin_bare::{Expected, Loss, StopMoment};
use memtwin_report::record::{Case, CaseStanding, LostPage, RecordedKind, RunRecord, Verdict};
use std::fmt;

/// What was found, beside what had to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioFindings {
    /// What was found, in a line.
    pub what: String,
    /// Whether a page was lost.
    pub lost: bool,
    /// Why there is no verdict: nothing was lost, and a block on which there had to be one has none.
    pub no_verdict: Option<String>,
    /// In which it is not what was expected; empty if it is.
    pub unexpected: Vec<String>,
}

impl ScenarioFindings {
    /// Whether it is what was expected.
    pub fn as_expected(&self) -> bool {
        self.unexpected.is_empty()
    }
}

impl fmt::Display for ScenarioFindings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.unexpected.iter().try_for_each(|problem| write!(f, "; {problem}"))
    }
}

/// Holds an audit's record against what is expected of the scenario: exactly the pages that its bug
/// explains are lost; of a sound one, none is, and the audit's control was found. The log of a guest
/// that does nothing (`idle`), or of one whose writes a bug hides, may name nothing at all, and an audit
/// rightly calls the other blocks inconclusive then.
///
/// Where QEMU does not say where all blocks lie (not `gives_addresses`), those that no guest writes may be left
/// unjudged.
pub fn judge(
    record: &RunRecord,
    expected: &Expected,
    idle: bool,
    gives_addresses: bool,
) -> ScenarioFindings {
    let (controls, cases): (Vec<_>, Vec<_>) = record
        .cases
        .iter()
        .filter(|case| gives_addresses || !is_hidden(case))
        .partition(|case| case.name().ends_with("/control"));
    let loss = match expected {
        Expected::Lost(loss) => Some(loss),
        Expected::Identical | Expected::AtMoments { .. } | Expected::Aborts { .. } => None,
    };
    let may_differ: &[&str] = match expected {
        Expected::AtMoments { blocks, .. } => blocks,
        _ => &[],
    };
    // A guest that does nothing, or whose every write a bug keeps from the log.
    let silent = idle || loss.is_some();
    let lost = cases.iter().any(|case| !case.lost().is_empty());
    let nothing = cases.is_empty().then(|| "nothing was judged".to_owned());
    let no_verdict = nothing.or_else(|| cases.iter().find_map(|case| verdict(case, silent)));
    let no_verdict = no_verdict.filter(|_| !lost);
    let mut unexpected = Vec::new();
    if cases.is_empty() {
        unexpected.push("the audit has judged nothing".to_owned());
    }
    if let Expected::Aborts { .. } = expected {
        unexpected.push("QEMU lives".to_owned());
    }
    for case in &cases {
        if !may_differ.contains(&block(case)) {
            unexpected.extend(unexplained(case, loss));
        }
        unexpected.extend(verdict(case, silent));
    }
    if let Some(loss) = loss
        && !cases.iter().any(|case| loss.is_of(block(case)))
    {
        unexpected.push(format!("no RAMBlock {} was audited", loss.block));
    }
    // What a bug keeps from the log can't be withheld once more; and what was withheld of a guest
    // that was reset since may be as it was again.
    let is_reset = matches!(expected, Expected::AtMoments { when: StopMoment::AfterReset, .. });
    let may_lack = silent || is_reset;
    let blind = controls.iter().any(|control| control.standing() == CaseStanding::Failed);
    if blind || !may_lack && !controls.iter().any(|control| control.passed()) {
        unexpected.push("the audit's own control was not found".to_owned());
    }
    let what = what(&cases, no_verdict.is_some());
    ScenarioFindings { what, lost, no_verdict, unexpected }
}

/// Whether a block was not judged that no guest of a scenario writes: firmware, what QEMU builds for it, and
/// the block that is there to be before main RAM.
fn is_hidden(case: &Case) -> bool {
    let block = block(case);
    let is_rom = block.starts_with("/rom@") || block.ends_with(".rom") || block == "pc.bios";
    let is_written = !is_rom && !block.ends_with("/first");
    !is_written && case.verdict() == Verdict::Skipped
}

/// What was found, in a line.
fn what(cases: &[&Case], undecided: bool) -> String {
    let lost: Vec<String> = cases
        .iter()
        .filter(|case| !case.lost().is_empty())
        .map(|case| format!("{} of {}", case.lost().len(), block(case)))
        .collect();
    match lost.is_empty() {
        false => format!("lost: {}", lost.join(", ")),
        true if undecided => "no verdict".to_owned(),
        true => "no lost page".to_owned(),
    }
}

fn block(case: &Case) -> &str {
    case.name().strip_prefix("audit/").unwrap_or(case.name())
}

/// Whether the log named a page of it after pre-copy.
fn was_logged(case: &Case) -> bool {
    case.rounds().iter().any(|round| round.kind != RecordedKind::PreCopy && round.dirty_pages > 0)
}

/// Whether there is a verdict at all.
fn verdict(case: &Case, silent: bool) -> Option<String> {
    match case.verdict() {
        Verdict::Identical | Verdict::Differs => None,
        Verdict::Inconclusive if silent && !was_logged(case) => None,
        Verdict::Inconclusive | Verdict::Skipped => {
            let reason = case.reason().unwrap_or("no reason");
            Some(format!("{} is {}: {reason}", case.name(), case.verdict()))
        }
    }
}

/// What is lost and should not be, or is not and should be.
fn unexplained(case: &Case, loss: Option<&Loss>) -> Option<String> {
    let block = block(case);
    let offset = |lost: &LostPage| {
        // A page outside of its region is in no range of anybody's.
        let page = case.page_number(&lost.region, lost.gpa).unwrap_or(u64::MAX);
        page.saturating_mul(case.page_size())
    };
    let excused = |lost: &LostPage| loss.is_some_and(|loss| loss.excuses(block, offset(lost)));
    let lost: Vec<&LostPage> = case.lost().iter().filter(|lost| !excused(lost)).collect();
    let Some(loss) = loss.filter(|loss| loss.is_of(block)) else {
        return (!lost.is_empty()).then(|| format!("{}: {}", case.name(), shown(&lost)));
    };
    let offsets: Vec<u64> = lost.iter().map(|lost| offset(lost)).collect();
    if !loss.explains(&offsets, case.page_size()) {
        let expected = Expected::Lost(loss.clone());
        return Some(format!("{}: {}, expected {expected}", case.name(), shown(&lost)));
    }
    let other = lost.iter().find(|lost| bits(lost).is_some_and(|bits| bits & !loss.bits != 0))?;
    let page = shown(&[*other]);
    Some(format!("{}: {page} differs in other bits than {:#x}", case.name(), loss.bits))
}

/// The bits in which a lost page's first word differs, where the record holds its bytes.
fn bits(lost: &LostPage) -> Option<u64> {
    let detail = lost.detail.as_ref()?;
    let word = |hex: &str| u64::from_str_radix(hex, 16).ok().map(u64::swap_bytes);
    Some(word(&detail.twin)? ^ word(&detail.memory)?)
}

/// Some of these pages.
fn shown(lost: &[&LostPage]) -> String {
    const SHOWN: usize = 4;
    let mut pages: Vec<String> = lost.iter().take(SHOWN).map(|lost| lost.gpa.to_string()).collect();
    if lost.len() > SHOWN {
        pages.push("…".to_owned());
    }
    let many = lost.len();
    format!("{many} lost page{} {}", if many == 1 { "" } else { "s" }, pages.join(" "))
}

#[cfg(test)]
mod tests;
