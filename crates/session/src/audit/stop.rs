//! One tap, from pre-copy to a stop, and what that has shown: every page of every region, and the control.

use super::findings::{AuditFindings, BlockSeen};
use crate::controller::ReplicationController;
use crate::discards::DiscardWatch;
use crate::driver::ForeignGuest;
use crate::helper::HelperCommand;
use crate::judge::{CapturedJudge, Judge, RunningJudge, RunningPlan};
use crate::observer::SessionObserver;
use crate::paused_read::PausedRead;
use crate::qemu_guest::{Attached, can_be_read};
use crate::read_twin::TwinPart;
use crate::session::{LastStop, Session, SessionEnd, SessionPlan};
use memtwin_pages::{Image as _, Layout, RegionId};
use memtwin_qemu::{HazardPolicy, balloon};
use memtwin_replicate::{CancelToken, RoundPlan, Until};
use memtwin_tap::{MigrationTap, TapTarget};
use memtwin_twin::WithheldTwin;
use memtwin_verdict::{CompareError, Overlay, Side, compare, differences};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::time::Duration;

/// How many pages of a block the control withholds.
const WITHHELD: usize = 3;
/// How often a tap is opened again because memory was plugged, unplugged or resized meanwhile.
const ATTEMPTS: u32 = 5;
/// How long is waited before that.
const SETTLE_INTERVAL: Duration = Duration::from_millis(20);

/// A tap to be run up to its stop.
pub(super) struct AuditStop<'s> {
    /// How long to let the guest be between rounds.
    pub(super) interval: Duration,
    /// How many rounds after pre-copy at most.
    pub(super) rounds: Option<u32>,
    /// How long at most.
    pub(super) time: Option<Duration>,
    /// How long the guest may be paused.
    pub(super) max_pause: Duration,
    /// How it is judged while it runs; `None`: at the stop.
    pub(super) running: Option<RunningPlan>,
    /// Who ends the rounds, and not the time alone.
    pub(super) controller: Option<&'s dyn ReplicationController>,
    /// Which pages the control withholds.
    pub(super) seed: u64,
    /// Whether a guest that QEMU is known to harm by migrating it is tapped all the same.
    pub(super) hazards: HazardPolicy,
    /// How the guardian is started.
    pub(super) guardian: &'s HelperCommand,
    /// Set when a signal came.
    pub(super) stop: &'s CancelToken,
}

/// Why there was no stop.
pub(super) enum StopError {
    /// The tap could not be opened: QEMU is as it was.
    NotBegun(String),
    /// It broke off.
    Broken(String),
}

/// Why one attempt came to no stop.
enum AttemptError {
    /// The blocks were others than a moment before: QEMU is as it was.
    Moved(String),
    /// Another attempt would not help.
    Stop(StopError),
}

impl From<StopError> for AttemptError {
    fn from(error: StopError) -> Self {
        Self::Stop(error)
    }
}

fn not_begun(error: impl Display) -> StopError {
    StopError::NotBegun(error.to_string())
}

impl AuditStop<'_> {
    /// Runs it, and enters what it found.
    pub(super) fn run(
        &self,
        attached: &mut Attached,
        findings: &mut AuditFindings,
        observer: &mut dyn SessionObserver,
    ) -> Result<(), StopError> {
        let mut attempts = 1;
        loop {
            match self.attempt(attached, findings, observer) {
                Ok(()) => return Ok(()),
                Err(AttemptError::Stop(error)) => return Err(error),
                Err(AttemptError::Moved(reason))
                    if attempts >= ATTEMPTS || self.stop.wait(SETTLE_INTERVAL) =>
                {
                    return Err(StopError::NotBegun(reason));
                }
                Err(AttemptError::Moved(_)) => attempts += 1,
            }
        }
    }

    fn attempt(
        &self,
        attached: &mut Attached,
        findings: &mut AuditFindings,
        observer: &mut dyn SessionObserver,
    ) -> Result<(), AttemptError> {
        attached.look_again().map_err(AttemptError::Moved)?;
        let process = attached.process();
        let target = TapTarget {
            hazards: self.hazards,
            ..attached.target(self.max_pause).map_err(not_begun)?
        };
        let Attached { qmp, blocks, .. } = attached;
        let balloon = balloon(qmp).map_err(not_begun)?;
        let guardian = || self.guardian.command();
        let tap = MigrationTap::open(qmp, &target, blocks, guardian, self.stop)
            .map_err(not_begun)?
            .only(|region| can_be_read(blocks, region.name()));
        let layout = tap.regions().clone();
        let memories =
            Attached::memories(blocks, &process, &layout).map_err(AttemptError::Moved)?;
        let mut twin = WithheldTwin::new(WITHHELD, self.seed);
        findings.tapped(&tap);
        let discards = DiscardWatch::new(&memories, &layout, balloon.is_some());
        let memory = (&layout, &memories[..]);
        let watched = (&discards, observer);
        let judged = match self.running {
            None => {
                let mut judge = CapturedJudge::new(&layout, &memories, &discards, self.max_pause);
                self.session(tap, &mut twin, &mut judge, watched, findings)
                    .and_then(|()| end_paused(&mut judge, &layout, &twin, findings))
            }
            Some(plan) => {
                let tap = tap.following_collections();
                let mut judge = RunningJudge::new(plan, memory, &discards, self.max_pause);
                self.session(tap, &mut twin, &mut judge, watched, findings)
                    .and_then(|()| end_running(&mut judge, &layout, &twin, findings))
            }
        };
        Ok(judged?)
    }

    /// From the first page to the stop, with this judge.
    fn session<'q, J>(
        &self,
        tap: MigrationTap<'q>,
        twin: &mut WithheldTwin,
        judge: &mut J,
        (discards, observer): (&DiscardWatch<'_>, &mut dyn SessionObserver),
        findings: &mut AuditFindings,
    ) -> Result<(), StopError>
    where
        J: for<'t> Judge<MigrationTap<'q>, &'t mut WithheldTwin>,
    {
        let layout = tap.regions().clone();
        let mut rounds = findings.no_rounds();
        let session = Session {
            source: tap,
            sink: twin,
            observer: ((&mut rounds, discards), observer),
            plan: self.plan(),
            guest: ForeignGuest,
            judge,
            stop: self.stop,
        };
        let end = session.run().map_err(not_begun)?;
        findings.begin(&layout, &rounds);
        match end {
            SessionEnd::Broken(error) => Err(StopError::Broken(error.to_string())),
            SessionEnd::Reached { .. } => Ok(()),
        }
    }

    fn plan(&self) -> SessionPlan<'_> {
        SessionPlan {
            rounds: RoundPlan {
                interval: self.interval,
                until: Until::Told,
                rounds: self.rounds,
                time: self.time,
                still_every: None,
            },
            guest_time: None,
            controller: self.controller,
            last_stop: LastStop::WritersEnded,
        }
    }
}

/// Enters what a stop has shown.
fn end_paused(
    judge: &mut CapturedJudge<'_>,
    layout: &Layout,
    twin: &WithheldTwin,
    findings: &mut AuditFindings,
) -> Result<(), StopError> {
    if let Some(why) = judge.trouble() {
        return Err(StopError::Broken(why));
    }
    if let Some(timing) = judge.timing() {
        findings.stopped(timing);
    }
    let parts = TwinPart::all(twin, layout);
    judge
        .read(&parts)
        .and_then(|read| enter(layout, &read, &parts, twin, findings))
        .map_err(|error| StopError::Broken(error.to_string()))
}

/// Enters what sweeps over a running guest have shown; or a stop, if it did not run.
fn end_running(
    judge: &mut RunningJudge<'_>,
    layout: &Layout,
    twin: &WithheldTwin,
    findings: &mut AuditFindings,
) -> Result<(), StopError> {
    if let Some(why) = judge.trouble() {
        return Err(StopError::Broken(why));
    }
    let Some(swept) = judge.swept() else {
        return end_paused(judge.paused(), layout, twin, findings);
    };
    if let Some(timing) = judge.paused().timing() {
        findings.ended(&timing, &swept);
    }
    let parts = TwinPart::all(twin, layout);
    let broken = |error: CompareError| StopError::Broken(error.to_string());
    let confirmed = judge.confirmed(&parts).map_err(broken)?;
    for ((id, region), of_region) in layout.iter().zip(&swept.regions) {
        let twin = &parts[id.0];
        let read = confirmed.iter().find(|(of, _)| *of == id).map(|(_, read)| read);
        let differing =
            read.map(|read| differences(&read.memory, twin, region.page_size(), read.differing()));
        let differing = differing.transpose().map_err(broken)?;
        let seen = read.zip(differing.as_deref());
        let seen = seen.map(|(read, differing)| BlockSeen { region, differing, read, twin });
        findings.swept(region, &swept, of_region, seen.as_ref());
    }
    // As at a stop: the region with the most shows that a page which is withheld is found.
    let most = layout.iter().zip(&swept.regions).max_by_key(|(_, swept)| swept.withheld.len());
    if let Some(((_, region), of_region)) = most {
        findings.control_swept(region, &swept, of_region);
    }
    Ok(())
}

/// Judges what was read: every page of every region, and then the control.
fn enter(
    layout: &Layout,
    read: &[PausedRead<'_, TwinPart>],
    parts: &[TwinPart],
    twin: &WithheldTwin,
    findings: &mut AuditFindings,
) -> Result<(), CompareError> {
    for ((read, part), (_, region)) in read.iter().zip(parts).zip(layout.iter()) {
        let comparison = compare(&read.memory, part, region.page_size())?;
        let seen = BlockSeen { region, differing: &comparison.differing, read, twin: part };
        findings.compared(&seen, &comparison);
    }
    // One region is enough to show that a page which is withheld is found: the one with the most.
    let injected = |at: usize, id| changed(&read[at].memory, twin.kept(id), layout, id);
    let most = layout
        .iter()
        .enumerate()
        .map(|(at, (id, region))| (at, id, region, injected(at, id)))
        .min_by_key(|(.., injected)| std::cmp::Reverse(injected.len()));
    let Some((at, id, region, injected)) = most else { return Ok(()) };
    let faulty = Overlay::new(&parts[at], region.page_size(), twin.kept(id).clone())
        .map_err(|cause| CompareError::Size { side: Side::Twin, cause })?;
    let comparison = compare(&read[at].memory, &faulty, region.page_size())?;
    findings.control(region, injected, &comparison);
    Ok(())
}

/// Which of these old pages are not what the memory has now.
fn changed(
    memory: &Overlay<'_, TwinPart>,
    kept: &BTreeMap<u64, Box<[u8]>>,
    layout: &Layout,
    id: RegionId,
) -> BTreeSet<u64> {
    let size = layout.region(id).page_size();
    let mut scratch = Vec::new();
    let mut differs = |page, old: &[u8]| {
        // Memory that was captured can be read: it is our own.
        !memory.is_at(size.offset_of(page), old, &mut scratch).unwrap_or(false)
    };
    kept.iter().filter(|(page, old)| differs(**page, old)).map(|(page, _)| *page).collect()
}
