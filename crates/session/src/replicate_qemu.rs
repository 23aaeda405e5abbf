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
use crate::provenance::Provenance;
use crate::qemu_guest::Attached;
use crate::replicate::Replicated;
use crate::session::{LastStop, Session, SessionEnd, SessionPlan};
use crate::verdict::{CaseFacts, Override};
use memtwin_pages::{Layout, Region};
use memtwin_qemu::{Block, balloon};
use memtwin_qmp::MonitorAddress;
use memtwin_replicate::{BufferedSource, CancelToken, Observer, RoundPlan, StopReason, Until};
use memtwin_report::{Case, CaseBuilder, Failure, Recorder};
use memtwin_tap::MigrationTap;
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
    let target = attached.target(config.max_pause).map_err(Failure::environment)?;
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
    let mut tap = MigrationTap::open(qmp, &target, blocks, config.guardian.command(), stop)
        .map_err(Failure::environment)?;
    if let Some(name) = &config.block {
        tap = tap.only(name).ok_or_else(|| {
            let names: Vec<_> = blocks.iter().map(|block| block.name.as_str()).collect();
            Failure::usage(format!("no RAMBlock {name}; there are {}", names.join(", ")))
        })?;
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
    let (end, facts) = run(tap, &mut twin, observers, plan, judge, stop)?;

    let trial = CaseBuilder::new(case, &origin.source, &layout).rounds(recorder.rounds());
    let mut notes = Vec::from_iter(origin.title());
    notes.extend(of_the_monitor);
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
    let sums = sums(&layout, &images, &case);
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

/// Of each region and its image, as `sum -r` prints it.
fn sums(layout: &Layout, images: &[String], case: &Case) -> Vec<String> {
    let both = |((_, region), image): ((_, &Region), &String)| {
        let digests = case.digest().get(region.name())?;
        let blocks = region.bytes().div_ceil(1024);
        Some([
            format!("{:05} {blocks:>5} {}", digests.memory.bsd_sum, region.name()),
            format!("{:05} {blocks:>5} {image}", digests.twin.bsd_sum),
        ])
    };
    layout.iter().zip(images).filter_map(both).flatten().collect()
}

fn wanted(config: &QemuReplicateConfig, block: &Block) -> bool {
    config.block.as_ref().is_none_or(|name| *name == block.name)
}
