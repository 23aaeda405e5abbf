//! One tap, from pre-copy to a stop, and what that has shown: every page of every region, and the control.

use super::findings::{AuditFindings, BlockSeen};
use crate::controller::ReplicationController;
use crate::discards::DiscardWatch;
use crate::driver::ForeignGuest;
use crate::helper::HelperCommand;
use crate::judge::CapturedJudge;
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
use memtwin_verdict::{CompareError, Overlay, Side, compare};
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
        let mut rounds = findings.no_rounds();
        let discards = DiscardWatch::new(&memories, &layout, balloon.is_some());
        let mut judge = CapturedJudge::new(&layout, &memories, &discards, self.max_pause);
        let session = Session {
            source: tap,
            sink: &mut twin,
            observer: ((&mut rounds, &discards), observer),
            plan: self.plan(),
            guest: ForeignGuest,
            judge: &mut judge,
            stop: self.stop,
        };
        let end = session.run().map_err(not_begun)?;
        findings.begin(&layout, &rounds);
        if let Some(why) = judge.trouble() {
            return Err(StopError::Broken(why).into());
        }
        if let SessionEnd::Broken(error) = end {
            return Err(StopError::Broken(error.to_string()).into());
        }
        if let Some(timing) = judge.timing() {
            findings.stopped(timing);
        }
        let parts = TwinPart::all(&twin, &layout);
        let judged =
            judge.read(&parts).and_then(|read| enter(&layout, &read, &parts, &twin, findings));
        Ok(judged.map_err(|error| StopError::Broken(error.to_string()))?)
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
        findings.judged(BlockSeen { region, comparison: &comparison, read, twin: part });
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
