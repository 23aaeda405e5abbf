//! What an audit has found, as cases.

use super::findings::{BlockFindings, ControlFindings};
use crate::paused_read::unclear;
use crate::verdict::{CaseFacts, Override, verdict_of};
use memtwin_pages::{Layout, Region};
use memtwin_qemu::{Block, find_block, out_of_sight};
use memtwin_report::record::{JudgeFacts, JudgeKind};
use memtwin_report::{Case, CaseBuilder};
use std::time::Duration;

impl BlockFindings {
    /// The block's case. `trouble`: why the audit broke off, if it did.
    pub(super) fn case(
        self,
        source: &str,
        trouble: Option<String>,
        nothing_logged: Option<Override>,
        longest_pause: Option<Duration>,
    ) -> Case {
        let name = self.region.name().to_owned();
        let trial = CaseBuilder::new(self.case_name(), source, &alone(&self.region))
            .rounds(&self.rounds)
            .heat(&self.heat)
            .one_of_several();
        let (missing, unclear_pages) = (self.missing.len() as u64, self.unclear.len() as u64);
        let unconfirmed = self.unconfirmed.len() as u64;
        let at_stops = self.digests.is_some().then(|| JudgeFacts {
            kind: JudgeKind::Paused,
            sweeps: u64::from(self.stops),
            pages_compared: u64::from(self.stops) * self.region.pages(),
            suspects: 0,
            dismissed: 0,
            confirmed: 0,
            paused_us: longest_pause.map(micros),
            read_bytes_per_second: None,
        });
        let is_compared = self.digests.is_some() || self.judge.is_some();
        let overrides = [
            (!is_compared).then_some(Override::NeverCompared),
            (missing > 0).then_some(Override::NeverSent(missing)),
            (unclear_pages > 0).then(|| Override::Unclear(unclear(unclear_pages))),
            (unconfirmed > 0).then_some(Override::Unconfirmed(unconfirmed)),
            nothing_logged,
        ];
        let facts = CaseFacts {
            broken: trouble,
            lost: self.lost.into_values().collect(),
            digests: self.digests.map(|digests| (name, digests)).into_iter().collect(),
            injected: None,
            given_up: self.discarded.count(),
            judge: self.judge.or(at_stops),
            overrides: overrides.into_iter().flatten().collect(),
        };
        verdict_of(trial, facts)
    }

    /// `audit/NAME`, and `audit/NAME#2` of one that came later with another size.
    fn case_name(&self) -> String {
        let name = self.region.name();
        match self.namesakes {
            0 => format!("audit/{name}"),
            others => format!("audit/{name}#{}", others + 1),
        }
    }
}

impl ControlFindings {
    /// The control's case.
    pub(super) fn case(self, source: &str) -> Case {
        let Self { region, injected, found, digests, judge } = self;
        let name = region.name().to_owned();
        let trial = CaseBuilder::new(format!("audit/{name}/control"), source, &alone(&region));
        let facts = CaseFacts {
            overrides: injected
                .is_empty()
                .then_some(Override::NothingSuppressed)
                .into_iter()
                .collect(),
            lost: found,
            digests: digests.map(|digests| (name, digests)).into_iter().collect(),
            judge,
            injected: Some(injected),
            ..CaseFacts::default()
        };
        verdict_of(trial, facts)
    }
}

/// The cases of the blocks of which nothing was entered. `trouble`: why the audit broke off, if it did.
pub(super) fn not_judged(
    source: &str,
    blocks: &[Block],
    entries: &[BlockFindings],
    trouble: Option<&str>,
) -> Vec<Case> {
    let is_it = |block: &Block, name: &str| {
        find_block(blocks, name).is_some_and(|found| std::ptr::eq(found, block))
    };
    let case = |block: &Block| {
        let name = format!("audit/{}", block.name);
        if !block.is_named {
            let reason = "it has no name, so QEMU does not migrate it (docs/qemu.md)";
            return Some(Case::skipped(name, source, reason));
        }
        if out_of_sight(blocks).any(|hidden| hidden.name == block.name) {
            let reason = "QEMU before 8.2 does not say where it lies, as the guest does not see it \
                          (docs/qemu.md)";
            return Some(Case::skipped(name, source, reason));
        }
        match trouble {
            Some(reason) if entries.is_empty() => {
                let facts = CaseFacts { broken: Some(reason.to_owned()), ..CaseFacts::default() };
                Some(verdict_of(CaseBuilder::new(name, source, &Layout::default()), facts))
            }
            _ if entries.iter().any(|entry| is_it(block, entry.region.name())) => None,
            trouble => {
                let reason = trouble.unwrap_or("QEMU does not migrate this block");
                Some(Case::skipped(name, source, reason))
            }
        }
    };
    blocks.iter().filter(|block| block.used > 0).filter_map(case).collect()
}

/// As the record has a time.
pub(super) fn micros(time: Duration) -> u64 {
    time.as_micros().try_into().unwrap_or(u64::MAX)
}

fn alone(region: &Region) -> Layout {
    Layout::new(vec![region.clone()])
}
