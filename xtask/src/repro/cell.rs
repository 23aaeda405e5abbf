//! What was seen of a scenario on one QEMU in one machine: a cell of the table of versions.

use memtwin_bare::Expected;
use memtwin_repro::{MoveError, MoveEvidence, RunError, RunEvidence, ScenarioOutcome};
use std::fmt;

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    /// It was audited, or moved.
    Seen {
        /// What was found, in a few words.
        what: String,
        /// In which it is not what is known of this version; empty if it is, or if nothing is known.
        unexpected: Vec<String>,
    },
    /// This QEMU can't have the scenario: why.
    Absent(String),
    /// The audit came to no verdict: why, and whether that is not what is known of this version.
    NoVerdict(String, bool),
    /// It failed in a way that says nothing of this QEMU.
    Failed(String),
}

impl Cell {
    /// Of an audit. `known` is what is known of this version.
    pub(super) fn audited(run: Result<RunEvidence, RunError>, known: Option<&Expected>) -> Self {
        match ScenarioOutcome::of(run) {
            Ok(ScenarioOutcome::Seen(RunEvidence { found, .. })) => {
                let unexpected = match known {
                    Some(_) => found.unexpected,
                    // What is lost may be so, but not that the audit is blind.
                    None if found.lost => Vec::new(),
                    None => found.unexpected,
                };
                Self::Seen { what: found.what, unexpected }
            }
            Ok(ScenarioOutcome::Absent(why)) => Self::Absent(why),
            Ok(ScenarioOutcome::NoVerdict(why)) => Self::NoVerdict(why, known.is_some()),
            Err(error) => Self::Failed(error.to_string()),
        }
    }

    /// Of a move.
    pub(super) fn moved(run: Result<MoveEvidence, MoveError>, known: Option<&Expected>) -> Self {
        match run {
            Ok(seen) => {
                let unexpected = known.map(|known| seen.unexpected(known)).unwrap_or_default();
                Self::Seen { what: arrived(&seen), unexpected }
            }
            Err(MoveError::Guest(error)) if error.absent().is_some() => {
                Self::Absent(error.absent().unwrap_or_default())
            }
            Err(error) => Self::Failed(error.to_string()),
        }
    }

    /// Whether it is not what it has to be.
    pub(super) fn is_failure(&self) -> bool {
        match self {
            Self::Seen { unexpected, .. } => !unexpected.is_empty(),
            Self::Absent(_) => false,
            Self::NoVerdict(_, is_failure) => *is_failure,
            Self::Failed(_) => true,
        }
    }

    /// In a few words, for a table.
    pub(super) fn short(&self) -> String {
        match self {
            Self::Seen { what, .. } if what.starts_with("QEMU died") => "QEMU aborts".to_owned(),
            Self::Seen { what, .. } => what.clone(),
            Self::Absent(_) => "not on this version".to_owned(),
            Self::NoVerdict(..) => "no verdict".to_owned(),
            Self::Failed(_) => "failed".to_owned(),
        }
    }
}

/// What arrived: the pages that differ.
fn arrived(seen: &MoveEvidence) -> String {
    let differing = seen.blocks.iter().filter(|block| !block.differ.is_empty());
    let mut parts: Vec<String> =
        differing.map(|block| format!("{} of {}", block.differ.len(), block.name)).collect();
    if parts.is_empty() {
        parts.push("no page".to_owned());
    }
    let mut what = format!("differ: {}", parts.join(", "));
    if !seen.unread.is_empty() {
        what += &format!(" ({} blocks without an address)", seen.unread.len());
    }
    if let Some(flash) = &seen.flash {
        let (back, all) = (flash.went_back.len(), flash.programmed);
        what += &format!("; older in the flash's file: {back} of {all}");
    }
    what
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seen { what, unexpected } => {
                f.write_str(what)?;
                unexpected.iter().try_for_each(|problem| write!(f, "; {problem}"))
            }
            Self::Absent(why) => write!(f, "not on this version: {why}"),
            Self::NoVerdict(why, _) => write!(f, "no verdict: {why}"),
            Self::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_bare::Report;
    use memtwin_repro::{FlashFile, MovedBlock, ScenarioFindings};

    fn audited(found: ScenarioFindings, known: Option<&Expected>) -> Cell {
        let told = (Report::from_bytes(&[0; Report::LEN]), None);
        Cell::audited(Ok(RunEvidence { found, told }), known)
    }

    #[test]
    fn what_is_not_known_yet_is_no_failure_but_a_blind_audit_is() {
        let found = |lost, unexpected: &[&str]| ScenarioFindings {
            what: "what".to_owned(),
            lost,
            no_verdict: None,
            unexpected: unexpected.iter().map(|problem| (*problem).to_owned()).collect(),
        };
        assert!(!audited(found(true, &["32 lost pages"]), None).is_failure());
        assert!(audited(found(false, &["the control was not found"]), None).is_failure());
        assert!(audited(found(true, &["x"]), Some(&Expected::Identical)).is_failure());
        let none = ScenarioFindings { no_verdict: Some("why".to_owned()), ..found(false, &["x"]) };
        assert_eq!(audited(none.clone(), None).short(), "no verdict");
        assert!(!audited(none.clone(), None).is_failure());
        assert!(audited(none, Some(&Expected::Identical)).is_failure());
    }

    #[test]
    fn what_did_not_arrive_is_counted() {
        let told = Report::from_bytes(&[0; Report::LEN]);
        let block = |name: &str, differ: &[u64]| MovedBlock {
            name: name.to_owned(),
            pages: 9,
            differ: differ.to_vec(),
        };
        let seen = MoveEvidence {
            blocks: vec![block("pc.ram", &[]), block("system.flash1", &[0, 4096])],
            unread: Vec::new(),
            flash: Some(FlashFile { programmed: 3, went_back: vec![0] }),
            told: (told, told),
        };
        let cell = Cell::moved(Ok(seen), None);
        assert_eq!(
            cell.to_string(),
            "differ: 2 of system.flash1; older in the flash's file: 1 of 3"
        );
    }
}
