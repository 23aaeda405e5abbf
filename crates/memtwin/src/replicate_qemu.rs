//! `memtwin replicate qemu:QMP-SOCKET`: the seed's daemon with a stock QEMU. Its dirty log feeds
//! the twin for as long as it is told to; then the guest is paused, judged, and let run.

mod ending;
mod pause;

use crate::bitmap_file::BitmapFile;
use crate::cli::{Replicate, Twin, Until};
use crate::convergence;
use crate::course::{self, Course};
use crate::discards::DiscardWatch;
use crate::judge::{Findings, Judged};
use crate::qemu_guest::{Attached, guardian_command};
use crate::remote_twin::{self, Place};
use ending::{End, EndOf};
use memtwin_pages::Layout;
use memtwin_qemu::{Block, BlockMemory, balloon};
use memtwin_replicate::{
    BufferedSource, Ended, Observer, Plan, Replication, RoundError, Sink, Source, Stop,
    Until as EngineUntil,
};
use memtwin_report::Failure;
use memtwin_report::record::PageAt;
use memtwin_report::{Case, ExitCode, Progress, Recorder, RunRecord, Trial, exit};
use memtwin_tap::Tap;
use memtwin_twin::{DirTwin, Discard};
use std::path::Path;

/// Replicates, judges, and writes the report.
pub(crate) fn run(
    args: &Replicate,
    socket: &Path,
    command: String,
    stop: &Stop,
) -> Result<ExitCode, Failure> {
    if args.guest_seconds.is_some() || args.pace.is_some() {
        let what = "--guest-seconds and --pace are for guests of our own, and this one is a QEMU's";
        return Err(Failure::usage(what));
    }
    crate::output::probe(&args.output)?;
    let mut outcome = replicate(args, socket, stop, None)?;
    outcome.closing.append(&mut outcome.sums);
    let cases = [outcome.case];
    let code = exit::of_cases(&cases, outcome.not_converged, stop.is_set());
    let record = RunRecord::new(command, cases.into());
    crate::output::write(&args.output, &record, &outcome.closing)?;
    Ok(code)
}

/// Replicates and judges.
pub(crate) fn replicate(
    args: &Replicate,
    socket: &Path,
    stop: &Stop,
    course: Option<&dyn Course>,
) -> Result<Outcome, Failure> {
    // Refused before QEMU is touched: a twin that can't be had.
    let twin = match &args.twin {
        Twin::File(path) if args.block.is_none() => {
            QemuTwin::Dir(DirTwin::create(path).map_err(Failure::environment)?)
        }
        _ => QemuTwin::Place(Place::take(args, stop)?),
    };
    let bitmap = BitmapFile::wanted(args.dirty_bitmap.as_deref())?;
    let mut attached = Attached::new(socket, args.pid)?;
    let process = attached.process();
    let title = attached.title();
    let target = attached.target(args.max_pause.0).map_err(Failure::environment)?;
    crate::room::for_reading(&process, &attached.blocks).map_err(Failure::environment)?;
    if args.twin != Twin::Discard {
        let of: Vec<Block> =
            attached.blocks.iter().filter(|block| wanted(args, block)).cloned().collect();
        crate::room::for_copy("a copy of what the log has named", &process, &of, socket)
            .map_err(Failure::environment)?;
    }
    let Attached { qmp, blocks, .. } = &mut attached;
    let balloon = balloon(qmp).map_err(Failure::environment)?;
    let mut tap =
        Tap::open(qmp, &target, blocks, guardian_command(), stop).map_err(Failure::environment)?;
    if let Some(name) = &args.block {
        tap = tap.only(name).ok_or_else(|| {
            let names: Vec<_> = blocks.iter().map(|block| block.name.as_str()).collect();
            Failure::usage(format!("no RAMBlock {name}; there are {}", names.join(", ")))
        })?;
    }
    let layout = tap.regions().clone();
    let memories = Attached::memories(blocks, &process, &layout).map_err(Failure::environment)?;
    let session = Session {
        args,
        stop,
        name: format!("qemu:{}", socket.display()),
        layout: &layout,
        memories: &memories,
        discards: DiscardWatch::new(&memories, &layout, balloon.is_some()),
        bitmap,
        course,
    };
    let mut outcome = session.run(tap, twin)?;
    outcome.closing.insert(0, title);
    Ok(outcome)
}

fn wanted(args: &Replicate, block: &Block) -> bool {
    args.block.as_ref().is_none_or(|name| *name == block.name)
}

/// Where the twin goes.
enum QemuTwin {
    /// An image for each block.
    Dir(DirTwin),
    /// Anywhere else.
    Place(Place),
}

/// What a replication came to.
pub(crate) struct Outcome {
    pub(crate) case: Case,
    /// The same case without its verdict, for who knows more than the twin's judge.
    pub(crate) trial: Trial,
    pub(crate) not_converged: bool,
    pub(crate) closing: Vec<String>,
    /// Of each block and its image, as `sum -r` prints it.
    pub(crate) sums: Vec<String>,
}

struct Session<'s> {
    args: &'s Replicate,
    stop: &'s Stop,
    name: String,
    layout: &'s Layout,
    memories: &'s [BlockMemory],
    discards: DiscardWatch<'s>,
    bitmap: Option<BitmapFile>,
    course: Option<&'s dyn Course>,
}

type Observers<'o> = ((&'o mut Recorder, &'o mut Progress), Option<&'o mut BitmapFile>);

impl Session<'_> {
    fn run(mut self, tap: Tap<'_>, twin: QemuTwin) -> Result<Outcome, Failure> {
        let mut recorder = Recorder::default();
        let mut progress = Progress::new(crate::output::progress_mode(&self.args.output), 1);
        progress.case("replicate/qemu");
        let mut bitmap = self.bitmap.take();
        let observers = ((&mut recorder, &mut progress), bitmap.as_mut());
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
        drop(progress);
        let (end, images) = end;
        let case = end.case(&self, &recorder);
        let trial = end.trial(&self, &recorder);
        let mut closing: Vec<String> = bitmap.iter().filter_map(BitmapFile::failure).collect();
        let ended = match &end {
            EndOf::Reached(End { ended, .. }) | EndOf::Discarded(ended) => Some(*ended),
            EndOf::Broken(..) => None,
        };
        let not_converged =
            self.args.until.is_some() && matches!(ended, Some(Ended::Rounds | Ended::Time));
        if ended == Some(Ended::GuestStopped) {
            closing.push("ended early: somebody else has paused the guest".to_owned());
        }
        if not_converged {
            closing.push("did not converge: the log was never clean within the limit".to_owned());
            closing.push(convergence::numbers(recorder.rounds(), self.layout, None));
        }
        let mut sums = Vec::new();
        for ((_, region), image) in self.layout.iter().zip(&images) {
            if let Some(digests) = case.digest().get(region.name()) {
                let blocks = region.bytes().div_ceil(1024);
                sums.push(format!("{:05} {blocks:>5} {}", digests.memory.bsd_sum, region.name()));
                sums.push(format!("{:05} {blocks:>5} {image}", digests.twin.bsd_sum));
            }
        }
        Ok(Outcome { case, trial, not_converged, closing, sums })
    }

    fn plan(&self) -> Plan {
        let args = self.args;
        Plan {
            interval: args.interval.0,
            until: match args.until {
                Some(Until::Clean) => EngineUntil::Clean,
                None => EngineUntil::Told,
            },
            rounds: args.rounds,
            time: args.limit().map(|time| time.0),
            still_every: None,
        }
    }

    /// Rounds, as planned or as they are steered; and what a control has changed.
    fn rounds<S: Source, K: Sink, O: Observer>(
        &self,
        replication: &mut Replication<S, K, O>,
    ) -> Result<(Ended, Vec<PageAt>), RoundError> {
        match self.course {
            None => Ok((replication.run(&self.plan(), self.stop, |_| ())?, Vec::new())),
            Some(course) => course::run(replication, &self.plan(), course, self.stop),
        }
    }

    /// The guest stands still only while its memory is read, against what has come of it; then it runs on,
    /// the rest goes to the twin, and the twin is judged.
    fn judged<K: Judged>(
        &self,
        tap: Tap<'_>,
        twin: &mut K,
        observers: Observers<'_>,
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
    fn discard(&self, tap: Tap<'_>, observers: Observers<'_>) -> Result<EndOf, Failure> {
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
