//! The verdicts: RAM, disk, guest; and what there is to say of the move.

use crate::driver::{FailureReason, GuestLocation, MigrationOutcome, PrecopyRound};
use crate::experiment::{WRITTEN, round_line};
use crate::guest::console::ConsoleLine;
use crate::guest::heartbeat::{HeartbeatStats, LoadSecond};
use crate::hosts::environment::Environment;
use crate::verdict::compare::RamVerdict;
use crate::verdict::durability::{DurabilityError, acknowledged, check, longest_stall};
use memtwin_lab::disk::{DiskError, Filesystem};
use memtwin_lab::{CommandError, Silent};
use memtwin_pages::Layout;
use memtwin_replicate::RoundKind;
use memtwin_report::record::{LostPage, PageAt};
use memtwin_report::{Case, CaseBuilder};
use std::collections::BTreeMap;
use std::time::Duration;

/// What the guest has told of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct GuestReport {
    /// Second by second, of each load.
    pub(crate) loads: Vec<Vec<LoadSecond>>,
    pub(crate) load_said: Vec<String>,
    /// What its kernel complained of.
    pub(crate) oops: Vec<String>,
    /// Why it has not told everything.
    pub(crate) trouble: Option<String>,
}

/// What there is to say of the move.
pub(crate) fn closing(moved: &MigrationOutcome) -> Vec<String> {
    let mut lines: Vec<String> = moved.progress.rounds.iter().map(round_line).collect();
    let total = moved.progress.last.total_time.unwrap_or_default() as f64 / 1e3;
    let bytes = moved.progress.bytes() as f64 / 1e6;
    lines.push(match &moved.location {
        GuestLocation::Destination => format!(
            "moved in {total:.1} s, {bytes:.1} MB sent; looked {} times whether both sides run the guest: {}",
            moved.looks,
            if moved.doubled == 0 { "never".to_owned() } else { format!("{} times", moved.doubled) },
        ),
        GuestLocation::Source(why) => format!("not moved, the guest runs on at the source: {why}"),
        GuestLocation::Nowhere(why) => format!("not moved, and the guest runs nowhere: {why}"),
    });
    if let (GuestLocation::Destination, Some(Err(error))) = (&moved.location, &moved.ram) {
        lines.push(format!(
            "the source is gone: nobody can say any more whether the guest's memory arrived as it was ({error})"
        ));
    }
    lines
}

/// RAM's case, and its control's.
pub(crate) fn ram(name: &str, source: &str, moved: &MigrationOutcome) -> Vec<Case> {
    let empty = || CaseBuilder::new(name, source, &Layout::default());
    let verdict = match &moved.ram {
        None => {
            let reason = match &moved.location {
                GuestLocation::Destination => {
                    return vec![Case::skipped(name, source, "--verify-ram off")];
                }
                GuestLocation::Source(why) | GuestLocation::Nowhere(why) => why,
            };
            return match (reason, &moved.location) {
                // The guest goes on where it was, so nothing was moved that could be judged.
                (
                    FailureReason::NotConverged | FailureReason::Interrupted,
                    GuestLocation::Source(_),
                ) => {
                    vec![Case::skipped(name, source, reason)]
                }
                _ => vec![empty().inconclusive(reason, Vec::new())],
            };
        }
        Some(Err(error)) => return vec![empty().inconclusive(error, Vec::new())],
        Some(Ok(verdict)) => verdict,
    };
    let trial = CaseBuilder::new(name, source, &verdict.layout).rounds(&rounds(moved));
    let mut cases = vec![trial.judged(lost(verdict), BTreeMap::new())];
    if let Some((id, page, found)) = &moved.control {
        let region = verdict.layout.region(*id);
        let injected = PageAt::of(region, *page);
        let trial = CaseBuilder::new(format!("{name}/control"), source, &verdict.layout)
            .control([injected]);
        cases.push(match found {
            Ok(found) => trial.judged(lost(found), BTreeMap::new()),
            Err(error) => trial.inconclusive(error, Vec::new()),
        });
    }
    cases
}

/// The rounds as an engine would tell them: QEMU sends what its log names.
fn rounds(moved: &MigrationOutcome) -> Vec<memtwin_replicate::Round> {
    let last = moved.progress.rounds.len().saturating_sub(1) as u64;
    let round = |round: &PrecopyRound| memtwin_replicate::Round {
        n: u32::try_from(round.n).unwrap_or(u32::MAX),
        kind: match round.n {
            0 => RoundKind::PreCopy,
            n if n == last => RoundKind::Final,
            _ => RoundKind::Delta,
        },
        dirty_pages: round.pages + round.zero_pages,
        sent_pages: round.pages + round.zero_pages,
        false_dirty_pages: 0,
        zero_pages: round.zero_pages,
        bytes: round.bytes,
        collect: Duration::ZERO,
        copy: round.took,
        total: round.took,
    };
    moved.progress.rounds.iter().map(round).collect()
}

fn lost(verdict: &RamVerdict) -> Vec<LostPage> {
    let page = |(id, difference): &_| LostPage::of(verdict.layout.region(*id), difference);
    verdict.differing.iter().map(page).collect()
}

/// The disk's: the file system is consistent, and what was said to be durable is there. Judged on a copy.
pub(crate) fn disk(
    environment: &Environment,
    trial: CaseBuilder,
    lines: &[ConsoleLine],
    closing: &mut Vec<String>,
) -> Case {
    let copy = environment.folder.join("disk.copy");
    let (host, path) = &environment.disk;
    if let Err(error) = host.get(path, &copy) {
        return trial.inconclusive(error, Vec::new());
    }
    let disk = Filesystem(&copy);
    // Told to stop or not: it takes a moment, and is what there is to know.
    let hush = &mut Silent;
    let file =
        disk.replay(hush).and_then(|()| disk.check(hush)).and_then(|()| disk.read(WRITTEN, hush));
    let file = match file {
        Ok(file) => file,
        // A tool that has judged, and a file that is not there.
        Err(error @ (DiskError::Tool(CommandError::Failed { .. }) | DiskError::Missing { .. })) => {
            return trial.differs(error);
        }
        Err(error) => return trial.inconclusive(error, Vec::new()),
    };
    let said = acknowledged(lines);
    match check(&file, &said) {
        Ok(records) => {
            let said = said.iter().map(|durable| durable.records).max().unwrap_or_default();
            closing.push(format!(
                "disk: e2fsck finds nothing; {records} records of {WRITTEN} whole and in order, {said} were \
                 acknowledged; the guest waited for it for {:.1} ms at most",
                longest_stall(lines).unwrap_or_default().as_secs_f64() * 1e3,
            ));
            trial.judged(Vec::new(), BTreeMap::new())
        }
        Err(DurabilityError::Nothing) => trial.inconclusive(DurabilityError::Nothing, Vec::new()),
        Err(error) => trial.differs(error),
    }
}

/// The guest's: it runs in one place, its heart beats without a gap in its numbers, its kernel is content.
pub(crate) fn guest(
    trial: CaseBuilder,
    pulses: &[(&MigrationOutcome, Option<HeartbeatStats>)],
    account: &GuestReport,
    closing: &mut Vec<String>,
) -> Case {
    closing.extend(account.load_said.iter().map(|line| format!("load: {line}")));
    for pulse in pulses.iter().filter_map(|(_, pulse)| pulse.as_ref()) {
        closing.push(format!(
            "guest: {} heartbeats in order; its clock fell {:.1} ms behind ours, its wall clock jumped {:.1} ms",
            pulse.beats,
            pulse.lag * 1e3,
            pulse.wall_jump * 1e3,
        ));
    }
    let doubled: u64 = pulses.iter().map(|(moved, _)| moved.doubled).sum();
    if doubled > 0 {
        return trial.differs(format!("both sides ran the guest, {doubled} times"));
    }
    let nowhere = pulses.last().and_then(|(moved, _)| match &moved.location {
        GuestLocation::Nowhere(why) => Some(why),
        GuestLocation::Destination | GuestLocation::Source(_) => None,
    });
    if let Some(why) = nowhere.filter(|why| !has_died(why)) {
        return trial.differs(format!("the guest is lost: {why}"));
    }
    if !account.oops.is_empty() {
        closing.extend(account.oops.iter().map(|line| format!("guest: {line}")));
        if !is_only_held_up(&account.oops) {
            return trial.differs("the guest's kernel complains");
        }
        let why = "the guest's kernel says that it was held up, as it is while its RAM is judged";
        return trial.inconclusive(why, Vec::new());
    }
    for (_, pulse) in pulses {
        match pulse {
            Some(HeartbeatStats { broken: Some((got, expected)), .. }) => {
                return trial.differs(format!("heartbeat {got} came, expected {expected}"));
            }
            Some(pulse) if pulse.went_back => return trial.differs("the guest's clock went back"),
            Some(_) => {}
            None if nowhere.is_some() => {}
            None => return trial.inconclusive("no heartbeat after the move began", Vec::new()),
        }
    }
    if let Some(why) = nowhere {
        return trial.inconclusive(format!("the guest ended with its QEMU: {why}"), Vec::new());
    }
    match &account.trouble {
        Some(trouble) => trial.inconclusive(trouble, Vec::new()),
        None => trial.judged(Vec::new(), BTreeMap::new()),
    }
}

/// Whether a guest that runs nowhere ended with a QEMU that did: somebody killed it, or its host. That
/// says nothing of the migration; any other one was lost by it.
fn has_died(why: &FailureReason) -> bool {
    match why {
        FailureReason::SourceGone(_) | FailureReason::DestinationGone(_) => true,
        FailureReason::NotConverged
        | FailureReason::Interrupted
        | FailureReason::Failed(_)
        | FailureReason::RamDiffers
        | FailureReason::NotJudged(_)
        | FailureReason::Spoilt
        | FailureReason::Stalled(_) => false,
    }
}

/// Whether a kernel complains of nothing but the time that passed: a pause of its machine looks to it
/// like a CPU that is stuck, and it says so with a backtrace.
fn is_only_held_up(oops: &[String]) -> bool {
    let held_up = |line: &str| line.contains("soft lockup") || line.contains("detected stall");
    oops.iter().any(|line| held_up(line))
        && oops.iter().all(|line| held_up(line) || line.to_lowercase().contains("call trace"))
}

#[cfg(test)]
mod tests;
