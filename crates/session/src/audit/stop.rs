//! One tap, from pre-copy to a stop: the guest stands still, its memory is read against the twin,
//! it runs on, and what was read is judged.

use super::ledger::{Ledger, Seen, Stopped};
use super::rounds::Rounds;
use crate::bounded::PauseBound;
use crate::discards::DiscardWatch;
use crate::helper::HelperCommand;
use crate::image::TwinPart;
use crate::observer::SessionObserver;
use crate::qemu_guest::Attached;
use crate::standing::{Read, read};
use memtwin_pages::{Layout, RegionId};
use memtwin_qemu::{BlockMemory, balloon};
use memtwin_replicate::{Observer, Plan, Replication, RoundError, Sink, Stop, Until};
use memtwin_tap::Tap;
use memtwin_twin::WithheldTwin;
use memtwin_verdict::{CompareError, Image, Overlay, compare};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How many pages of a block the control keeps back.
const WITHHELD: usize = 3;

/// A tap to be run up to its stop.
pub(super) struct Session<'s> {
    /// How long to let the guest be between rounds.
    pub(super) interval: Duration,
    /// How many rounds after pre-copy at most.
    pub(super) rounds: Option<u32>,
    /// How long at most.
    pub(super) time: Option<Duration>,
    /// How long the guest may stand still.
    pub(super) max_pause: Duration,
    /// Which pages the control keeps back.
    pub(super) seed: u64,
    /// How the guardian is started.
    pub(super) guardian: &'s HelperCommand,
    /// Set when a signal came.
    pub(super) stop: &'s Stop,
}

/// What is compared, region by region.
struct Sides<'t> {
    layout: &'t Layout,
    memories: &'t [BlockMemory],
    parts: &'t [TwinPart],
}

/// Why there was no stop.
pub(super) enum NoStop {
    /// The tap could not be opened: QEMU is as it was.
    NotBegun(String),
    /// It broke off.
    Broken(String),
}

impl From<RoundError> for NoStop {
    fn from(error: RoundError) -> Self {
        Self::Broken(error.to_string())
    }
}

impl Session<'_> {
    /// Runs it, and enters what it found.
    pub(super) fn run(
        &self,
        attached: &mut Attached,
        ledger: &mut Ledger,
        observer: &mut dyn SessionObserver,
    ) -> Result<(), NoStop> {
        attached.look_again().map_err(NoStop::NotBegun)?;
        let process = attached.process();
        let target =
            attached.target(self.max_pause).map_err(|error| NoStop::NotBegun(error.to_string()))?;
        let Attached { qmp, blocks, .. } = attached;
        let balloon = balloon(qmp).map_err(|error| NoStop::NotBegun(error.to_string()))?;
        let tap = Tap::open(qmp, &target, blocks, self.guardian.command(), self.stop)
            .map_err(|error| NoStop::NotBegun(error.to_string()))?;
        let layout = tap.regions().clone();
        let memories =
            Attached::memories(&attached.blocks, &process, &layout).map_err(NoStop::NotBegun)?;
        let mut twin = WithheldTwin::new(WITHHELD, self.seed);
        let mut rounds = Rounds::default();
        let discards = DiscardWatch::new(&memories, &layout, balloon.is_some());
        let observers = ((&mut rounds, &discards), observer);
        let mut replication = Replication::start(tap, &mut twin, observers)
            .map_err(|error| NoStop::NotBegun(error.to_string()))?;
        // There since it was opened.
        let parts = replication.sink().memory().map(|twin| TwinPart::all(twin, &layout));
        let parts = parts.unwrap_or_default();

        let sides = Sides { layout: &layout, memories: &memories, parts: &parts };
        let reached = self.reach(&mut replication, sides, &discards);
        let stopped = replication.source().paused();
        let counters = replication.source().counters();
        let finished = replication.finish();
        ledger.begin(&layout, &rounds);
        let (read, compared) = reached?;
        finished?;
        let bytes = layout.bytes();
        ledger.stopped(Stopped { paused: stopped, compared, bytes, counters });
        judge(&layout, &read, &parts, &twin, ledger)
            .map_err(|error| NoStop::Broken(error.to_string()))
    }

    /// Runs the rounds, and reads the memory at the stop. Says how long reading took.
    fn reach<'t, K: Sink, O: Observer>(
        &self,
        replication: &mut Replication<Tap<'_>, K, O>,
        sides: Sides<'t>,
        discards: &DiscardWatch<'_>,
    ) -> Result<(Vec<Read<'t, TwinPart>>, Duration), NoStop> {
        let plan = Plan {
            interval: self.interval,
            until: Until::Told,
            rounds: self.rounds,
            time: self.time,
            still_every: None,
        };
        replication.run(&plan, self.stop, |_| ())?;
        let mut still = replication.stand_still(self.stop)?;
        let Sides { layout, memories, parts } = sides;
        let bound = PauseBound::new(layout.bytes(), still.source().resume_by());
        let read = match read(&mut still, layout, memories, parts, (discards, &bound)) {
            Ok(read) => read,
            Err(error) => {
                let cut = still.source().was_cut();
                let why = cut.or_else(|| bound.exceeded(self.max_pause));
                return Err(NoStop::Broken(why.unwrap_or_else(|| error.to_string())));
            }
        };
        let took = bound.took();
        still.release()?;
        Ok((read, took))
    }
}

/// Judges what was read: every page of every region, and then the control.
fn judge(
    layout: &Layout,
    read: &[Read<'_, TwinPart>],
    parts: &[TwinPart],
    twin: &WithheldTwin,
    ledger: &mut Ledger,
) -> Result<(), CompareError> {
    for ((read, part), (_, region)) in read.iter().zip(parts).zip(layout.iter()) {
        let comparison = compare(&read.memory, part, region.page_size())?;
        ledger.judged(Seen { region, comparison: &comparison, read, twin: part });
    }
    // One region is enough to show that a page which is kept back is found: the one with the most.
    let injected = |at: usize, id| changed(&read[at].memory, twin.kept(id), layout, id);
    let most = layout
        .iter()
        .enumerate()
        .map(|(at, (id, region))| (at, id, region, injected(at, id)))
        .min_by_key(|(.., injected)| std::cmp::Reverse(injected.len()));
    let Some((at, id, region, injected)) = most else { return Ok(()) };
    let faulty = Overlay::new(&parts[at], region.page_size(), twin.kept(id).clone())
        .map_err(|cause| CompareError::Size { side: memtwin_verdict::Side::Twin, cause })?;
    let comparison = compare(&read[at].memory, &faulty, region.page_size())?;
    ledger.control(region, injected, &comparison);
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
