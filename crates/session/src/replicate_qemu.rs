//! A replication of a stock QEMU: its dirty log feeds the twin for as long as the plan says; then the guest
//! is paused, its memory is read, it runs on, and the twin is judged.

mod ending;
mod pause;

use crate::bitmap_file::BitmapFile;
use crate::controller::{self, ReplicationController};
use crate::convergence;
use crate::discards::DiscardWatch;
use crate::helper::HelperCommand;
use crate::judge::{Findings, Judged};
use crate::observer::SessionObserver;
use crate::qemu_guest::Attached;
use crate::remote_twin::{self, Place, TwinTarget};
use crate::replicate::Replicated;
use ending::{End, EndOf};
use memtwin_pages::Layout;
use memtwin_qemu::{Block, BlockMemory, balloon};
use memtwin_replicate::{
    BufferedSource, Ended, Observer, Plan, Replication, RoundError, Sink, Source, Stop, Until,
};
use memtwin_report::record::PageAt;
use memtwin_report::{Failure, Recorder};
use memtwin_tap::Tap;
use memtwin_twin::{DirTwin, Discard};
use std::path::PathBuf;
use std::time::Duration;

/// What to replicate, and where to.
#[derive(Clone, Debug)]
pub struct QemuReplicateConfig {
    /// The socket of QEMU's QMP monitor.
    pub socket: PathBuf,
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
    /// At most so many rounds after pre-copy.
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
    pub fn new(socket: impl Into<PathBuf>, twin: TwinTarget, guardian: HelperCommand) -> Self {
        Self {
            socket: socket.into(),
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
}

/// Replicates and judges, and leaves the QEMU as it was found. With a controller the rounds end when that
/// says so and the log is clean.
///
/// Errors: it can't be attached to, there is no room, or the twin is not available.
pub fn replicate_qemu(
    config: &QemuReplicateConfig,
    controller: Option<&dyn ReplicationController>,
    stop: &Stop,
    observer: &mut dyn SessionObserver,
) -> Result<Replicated, Failure> {
    let socket = &config.socket;
    // Refused before QEMU is touched: a twin that can't be had.
    let twin = match &config.twin {
        TwinTarget::File(path) if config.block.is_none() => {
            QemuTwin::Dir(DirTwin::create(path).map_err(Failure::environment)?)
        }
        _ => QemuTwin::Place(Place::take(&config.twin, stop)?),
    };
    let bitmap = BitmapFile::wanted(config.dirty_bitmap.as_deref())?;
    let mut attached = Attached::new(socket, config.pid)?;
    let process = attached.process();
    let title = attached.title();
    let target = attached.target(config.max_pause).map_err(Failure::environment)?;
    crate::room::for_reading(&process, &attached.blocks).map_err(Failure::environment)?;
    if !matches!(config.twin, TwinTarget::Discard) {
        let of: Vec<Block> =
            attached.blocks.iter().filter(|block| wanted(config, block)).cloned().collect();
        crate::room::for_copy("a copy of what the log has named", &process, &of, socket)
            .map_err(Failure::environment)?;
    }
    let Attached { qmp, blocks, .. } = &mut attached;
    let balloon = balloon(qmp).map_err(Failure::environment)?;
    let mut tap = Tap::open(qmp, &target, blocks, config.guardian.command(), stop)
        .map_err(Failure::environment)?;
    if let Some(name) = &config.block {
        tap = tap.only(name).ok_or_else(|| {
            let names: Vec<_> = blocks.iter().map(|block| block.name.as_str()).collect();
            Failure::usage(format!("no RAMBlock {name}; there are {}", names.join(", ")))
        })?;
    }
    let layout = tap.regions().clone();
    let memories = Attached::memories(blocks, &process, &layout).map_err(Failure::environment)?;
    let session = Session {
        config,
        stop,
        name: format!("qemu:{}", socket.display()),
        layout: &layout,
        memories: &memories,
        discards: DiscardWatch::new(&memories, &layout, balloon.is_some()),
        bitmap,
        controller,
    };
    let mut outcome = session.run(tap, twin, observer)?;
    outcome.notes.insert(0, title);
    Ok(outcome)
}

fn wanted(config: &QemuReplicateConfig, block: &Block) -> bool {
    config.block.as_ref().is_none_or(|name| *name == block.name)
}

/// Where the twin goes.
enum QemuTwin {
    /// An image for each block.
    Dir(DirTwin),
    /// Anywhere else.
    Place(Place),
}

struct Session<'s> {
    config: &'s QemuReplicateConfig,
    stop: &'s Stop,
    name: String,
    layout: &'s Layout,
    memories: &'s [BlockMemory],
    discards: DiscardWatch<'s>,
    bitmap: Option<BitmapFile>,
    controller: Option<&'s dyn ReplicationController>,
}

type Observers<'o, 'd> =
    ((&'o mut Recorder, &'o mut (dyn SessionObserver + 'd)), Option<&'o mut BitmapFile>);

impl Session<'_> {
    fn run(
        mut self,
        tap: Tap<'_>,
        twin: QemuTwin,
        observer: &mut dyn SessionObserver,
    ) -> Result<Replicated, Failure> {
        let mut recorder = Recorder::default();
        observer.case_started("replicate/qemu");
        let mut bitmap = self.bitmap.take();
        let observers = ((&mut recorder, observer), bitmap.as_mut());
        let end = match twin {
            QemuTwin::Dir(mut twin) => {
                let end = self.judged(tap, &mut twin, observers)?;
                let images: Vec<String> =
                    twin.images().map(|image| image.display().to_string()).collect();
                twin.finish(end.is_good()).map_err(Failure::environment)?;
                (end, images)
            }
            QemuTwin::Place(Place::File(mut twin)) => {
                let end = self.judged(tap, &mut twin, observers)?;
                let images = vec![twin.path().display().to_string()];
                twin.finish(end.is_good()).map_err(Failure::environment)?;
                (end, images)
            }
            QemuTwin::Place(Place::Remote(mut twin)) => {
                let end = self.judged(tap, &mut *twin, observers)?;
                let case = end.case(&self, &Recorder::default());
                let told = remote_twin::conclude(&mut *twin, &case, self.layout);
                let end = match told {
                    Err(why) if end.is_good() => EndOf::Broken(why, Findings::default()),
                    _ => end,
                };
                (end, vec!["the receiver's twin".to_owned(); self.layout.len()])
            }
            QemuTwin::Place(Place::Nowhere) => (self.discard(tap, observers)?, Vec::new()),
        };
        let (end, images) = end;
        let case = end.case(&self, &recorder);
        let trial = end.trial(&self, &recorder);
        let mut notes: Vec<String> = bitmap.iter().filter_map(BitmapFile::failure).collect();
        let ended = match &end {
            EndOf::Reached(End { ended, .. }) | EndOf::Discarded(ended) => Some(*ended),
            EndOf::Broken(..) => None,
        };
        let not_converged =
            self.config.until == Until::Clean && matches!(ended, Some(Ended::Rounds | Ended::Time));
        if ended == Some(Ended::GuestStopped) {
            notes.push("ended early: somebody else has paused the guest".to_owned());
        }
        if not_converged {
            notes.push("did not converge: the log was never clean within the limit".to_owned());
            notes.push(convergence::numbers(recorder.rounds(), self.layout, None));
        }
        let mut sums = Vec::new();
        for ((_, region), image) in self.layout.iter().zip(&images) {
            if let Some(digests) = case.digest().get(region.name()) {
                let blocks = region.bytes().div_ceil(1024);
                sums.push(format!("{:05} {blocks:>5} {}", digests.memory.bsd_sum, region.name()));
                sums.push(format!("{:05} {blocks:>5} {image}", digests.twin.bsd_sum));
            }
        }
        Ok(Replicated { case, trial, not_converged, notes, sums })
    }

    fn plan(&self) -> Plan {
        let config = self.config;
        Plan {
            interval: config.interval,
            until: config.until,
            rounds: config.rounds,
            time: config.time,
            still_every: None,
        }
    }

    /// Rounds, as planned or as they are steered; and what a control has changed.
    fn rounds<S: Source, K: Sink, O: Observer>(
        &self,
        replication: &mut Replication<S, K, O>,
    ) -> Result<(Ended, Vec<PageAt>), RoundError> {
        match self.controller {
            None => Ok((replication.run(&self.plan(), self.stop, |_| ())?, Vec::new())),
            Some(steers) => controller::run(replication, &self.plan(), steers, self.stop),
        }
    }

    /// The guest stands still only while its memory is read, against what has come of it; then it runs on,
    /// the rest goes to the twin, and the twin is judged.
    fn judged<K: Judged>(
        &self,
        tap: Tap<'_>,
        twin: &mut K,
        observers: Observers<'_, '_>,
    ) -> Result<EndOf, Failure> {
        let source = BufferedSource::new(tap, self.stop.clone());
        let observers = (observers, &self.discards);
        let mut replication =
            Replication::start(source, &mut *twin, observers).map_err(Failure::environment)?;
        let reached = (|| {
            let (ended, injected) = self.rounds(&mut replication)?;
            let read =
                replication.read_paused(self.stop, |source, came| self.read(source, came))?;
            replication.settle(self.stop)?;
            Ok::<_, RoundError>((ended, injected, read))
        })();
        let (ended, injected, read) = match reached {
            Ok(reached) => reached,
            Err(error) => return Ok(EndOf::Broken(error.to_string(), Findings::default())),
        };
        let mut findings = Findings::default();
        let mut discarded = 0;
        let judged = self.judge(&replication, read, &mut findings, &mut discarded);
        let trouble = judged.unwrap_or_else(|error| Some(error.to_string()));
        match replication.finish() {
            Ok(()) => Ok(EndOf::Reached(End { ended, findings, discarded, trouble, injected })),
            Err(error) => Ok(EndOf::Broken(error.to_string(), findings)),
        }
    }

    /// No twin: to measure.
    fn discard(&self, tap: Tap<'_>, observers: Observers<'_, '_>) -> Result<EndOf, Failure> {
        let mut replication =
            Replication::start(tap, Discard, observers).map_err(Failure::environment)?;
        let ended = replication.run(&self.plan(), self.stop, |_| ());
        let finished = replication.finish();
        Ok(match ended.and_then(|ended| finished.map(|()| ended)) {
            Ok(ended) => EndOf::Discarded(ended),
            Err(error) => EndOf::Broken(error.to_string(), Findings::default()),
        })
    }
}
