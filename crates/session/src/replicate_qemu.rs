//! A replication of a stock QEMU: its dirty log feeds the twin for as long as the plan says; then the guest
//! is paused, its memory is read, it runs on, and the twin is judged.

use crate::bitmap_file::BitmapFile;
use crate::controller::ReplicationController;
use crate::convergence;
use crate::discards::DiscardWatch;
use crate::driver::ForeignGuest;
use crate::helper::HelperCommand;
use crate::judge::{BufferedJudge, Unjudged};
use crate::observer::SessionObserver;
use crate::open_twin::{OpenTwin, TwinTarget};
use crate::qemu_guest::{Attached, can_be_read, tapped};
use crate::replicate_source::Replicated;
use crate::session::{LastStop, Session, SessionEnd, SessionPlan};
use crate::sums::sums;
use crate::verdict::{CaseFacts, Override};
use memtwin_qemu::{Block, HazardPolicy, balloon, find_block, out_of_sight};
use memtwin_qmp::MonitorAddress;
use memtwin_replicate::{
    BufferedSource, CancelToken, Observer, Provenance, RoundPlan, StopReason, Until,
};
use memtwin_report::{CaseBuilder, Failure, Recorder};
use memtwin_tap::{MigrationTap, TapTarget};
use std::path::PathBuf;
use std::time::Duration;

/// What to replicate, and where to.
#[derive(Clone, Debug)]
pub struct QemuReplicateConfig {
    /// Where QEMU's QMP monitor is.
    pub monitor: MonitorAddress,
    /// QEMU's process id; `None`: found by its socket.
    pub pid: Option<u32>,
    /// This RAMBlock alone; `None`: all of them.
    pub block: Option<String>,
    /// Where the twin is kept.
    pub twin: TwinTarget,
    /// How long the guest is let alone between two rounds.
    pub interval: Duration,
    /// What ends the rounds.
    pub until: Until,
    /// At most this many rounds after pre-copy.
    pub rounds: Option<u32>,
    /// At most so long; of a replication that is steered, since its program has ended.
    pub time: Option<Duration>,
    /// A file for each round's dirty bitmap.
    pub dirty_bitmap: Option<PathBuf>,
    /// How long the guest may stand still for us at most.
    pub max_pause: Duration,
    /// Whether a guest that QEMU is known to harm by migrating it is replicated all the same.
    pub hazards: HazardPolicy,
    /// How the guardian is started that leaves QEMU as it was found if this process is killed.
    pub guardian: HelperCommand,
}

impl QemuReplicateConfig {
    /// A round each 100 ms until it is told to stop, the guest paused for 250 ms at most.
    pub fn new(
        monitor: impl Into<MonitorAddress>,
        twin: TwinTarget,
        guardian: HelperCommand,
    ) -> Self {
        Self {
            monitor: monitor.into(),
            pid: None,
            block: None,
            twin,
            interval: Duration::from_millis(100),
            until: Until::Told,
            rounds: None,
            time: None,
            dirty_bitmap: None,
            max_pause: Duration::from_millis(250),
            hazards: HazardPolicy::Refuse,
            guardian,
        }
    }

    fn plan<'c>(&self, controller: Option<&'c dyn ReplicationController>) -> SessionPlan<'c> {
        SessionPlan {
            rounds: RoundPlan {
                interval: self.interval,
                until: self.until,
                rounds: self.rounds,
                time: self.time,
                still_every: None,
            },
            guest_time: None,
            controller,
            last_stop: LastStop::WritersEnded,
        }
    }
}

/// Replicates and judges, and leaves the QEMU as it was found. With a controller the rounds end when that
/// says so and the log is clean.
///
/// Errors: it can't be attached to, there is no room, or the twin is not available.
pub fn replicate_qemu(
    config: &QemuReplicateConfig,
    controller: Option<&dyn ReplicationController>,
    stop: &CancelToken,
    observer: &mut dyn SessionObserver,
) -> Result<Replicated, Failure> {
    let monitor = &config.monitor;
    // Refused before QEMU is touched: a twin that is not available.
    let mut twin = match config.block {
        None => OpenTwin::open_regions(&config.twin, stop)?,
        Some(_) => OpenTwin::open(&config.twin, stop)?,
    };
    let mut bitmap = BitmapFile::wanted(config.dirty_bitmap.as_deref())?;
    let mut attached = Attached::new(monitor, config.pid)?;
    let process = attached.process();
    let origin = attached.provenance();
    let hypervisor = attached.hypervisor();
    let target = attached.target(config.max_pause).map_err(Failure::environment)?;
    let target = TapTarget { hazards: config.hazards, ..target };
    crate::room::for_reading(&process, &attached.blocks).map_err(Failure::environment)?;
    if !matches!(config.twin, TwinTarget::Discard) {
        let of: Vec<Block> =
            attached.blocks.iter().filter(|block| wanted(config, block)).cloned().collect();
        crate::room::for_copy("a copy of what the log has named", &process, &of, monitor)
            .map_err(Failure::environment)?;
    }
    let of_the_monitor = attached.notes();
    let Attached { qmp, blocks, .. } = &mut attached;
    let balloon = balloon(qmp).map_err(Failure::environment)?;
    let tap = MigrationTap::open(qmp, &target, blocks, || config.guardian.command(), stop)
        .map_err(Failure::environment)?
        .only(|region| can_be_read(blocks, region.name()))
        .only(|region| config.block.as_deref().is_none_or(|name| region.name() == name));
    if let Some(name) = config.block.as_ref().filter(|_| tap.regions().is_empty()) {
        let names = blocks.iter().map(|block| block.name.as_str());
        let names: Vec<_> = names.filter(|name| can_be_read(blocks, name)).collect();
        let problem =
            format!("no RAMBlock {name} that can be read; there are {}", names.join(", "));
        return Err(Failure::usage(problem));
    }
    let layout = tap.regions().clone();
    let memories = Attached::memories(blocks, &process, &layout).map_err(Failure::environment)?;
    let discards = DiscardWatch::new(&memories, &layout, balloon.is_some());
    let judge = BufferedJudge::new(&layout, &memories, &discards, config.max_pause);
    let case = if controller.is_some_and(ReplicationController::is_control) {
        "replicate/qemu/control"
    } else {
        "replicate/qemu"
    };
    observer.case_started("replicate/qemu");
    let mut recorder = Recorder::default();
    let observers = (((&mut recorder, observer), bitmap.as_mut()), &discards);
    let plan = config.plan(controller);
    let hypervisor = tapped(&hypervisor, &tap);
    let (end, facts) = run(tap, &mut twin, observers, plan, judge, stop)?;

    let trial =
        CaseBuilder::new(case, &origin.source, &layout).recorded(&recorder).hypervisor(hypervisor);
    let mut notes = Vec::from_iter(origin.title());
    notes.extend(of_the_monitor);
    notes.extend(out_of_sight(blocks).map(|block| {
        let name = &block.name;
        format!("RAMBlock {name} is not replicated: QEMU before 8.2 does not say where it lies, as the guest does not see it")
    }));
    notes.extend(bitmap.iter().filter_map(BitmapFile::failure));
    let not_converged = config.until == Until::Clean
        && matches!(end.ended(), Some(StopReason::Rounds | StopReason::Time));
    if end.ended() == Some(StopReason::GuestStopped) {
        notes.push("ended early: somebody else has paused the guest".to_owned());
    }
    if not_converged {
        notes.push("did not converge: the log was never clean within the limit".to_owned());
        notes.push(convergence::numbers(recorder.rounds(), &layout, None));
    }
    let images = twin.image_names(&layout);
    let without_verdict = facts.enter(trial.clone());
    let case = twin.conclude(&trial, facts, &layout)?;
    let names: Vec<_> = layout.iter().map(|(_, region)| region.name()).collect();
    let sums = sums(&layout, &names, &images, &case);
    Ok(Replicated { case, trial: without_verdict, not_converged, notes, sums })
}

/// Runs the session, judged if a twin is kept.
fn run<O: Observer>(
    tap: MigrationTap<'_>,
    twin: &mut OpenTwin,
    observer: O,
    plan: SessionPlan<'_>,
    mut judge: BufferedJudge<'_>,
    stop: &CancelToken,
) -> Result<(SessionEnd, CaseFacts), Failure> {
    let is_control = plan.controller.is_some_and(ReplicationController::is_control);
    let guest = ForeignGuest;
    if twin.is_discarded() {
        // To measure: QEMU's pages are not kept, so there is nothing to judge either.
        let (source, sink, judge) = (tap, twin, &mut Unjudged);
        let session = Session { source, sink, observer, plan, guest, judge, stop };
        let end = session.run().map_err(Failure::environment)?;
        let overrides = vec![Override::TwinDiscarded];
        let facts = CaseFacts { broken: end.broken(), overrides, ..CaseFacts::default() };
        return Ok((end, facts));
    }
    let (source, sink) = (BufferedSource::new(tap, stop.clone()), twin);
    let session = Session { source, sink, observer, plan, guest, judge: &mut judge, stop };
    let end = session.run().map_err(Failure::environment)?;
    let facts = judge.facts(&end, is_control);
    Ok((end, facts))
}

/// Whether it is to be copied: the one that was named, or any.
fn wanted(config: &QemuReplicateConfig, block: &Block) -> bool {
    let is_it = |name: &String| find_block(std::slice::from_ref(block), name).is_some();
    config.block.as_ref().is_none_or(is_it)
}
