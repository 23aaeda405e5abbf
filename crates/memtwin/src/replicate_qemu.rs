//! `memtwin replicate qemu:QMP-SOCKET`: the seed's daemon with a stock QEMU. Its dirty log feeds
//! the twin for as long as it is told to; then the guest is paused, judged, and let run.

mod ending;
mod local;

use crate::bitmap_file::BitmapFile;
use crate::cli::{Replicate, Twin, Until};
use crate::convergence;
use crate::course::{self, Course};
use crate::discards::DiscardWatch;
use crate::failure::Failure;
use crate::judge::{Findings, JudgeError, Judged};
use crate::qemu_guest::{Attached, guardian_command};
use crate::remote_twin::{self, Place};
use crate::standing::{Read, read};
use ending::{End, EndOf};
use local::Local;
use memtwin_pages::Layout;
use memtwin_qemu::{BlockMemory, balloon};
use memtwin_replicate::{
    Ended, Observer, Plan, Replication, RoundError, Shadow, Sink, Source, Still, Stop,
    Until as EngineUntil,
};
use memtwin_report::record::PageAt;
use memtwin_report::{Case, ExitCode, Progress, Recorder, RunRecord, Trial, exit};
use memtwin_tap::Tap;
use memtwin_twin::{DirTwin, Discard};
use memtwin_verdict::compare;
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
    let Attached { qmp, blocks, .. } = &mut attached;
    let balloon = balloon(qmp).map_err(Failure::environment)?;
    let mut tap = Tap::open(qmp, blocks, guardian_command(), stop).map_err(Failure::environment)?;
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
                let end = self.local(tap, &mut twin, observers)?;
                let images: Vec<String> =
                    twin.images().map(|image| image.display().to_string()).collect();
                twin.finish(end.is_good()).map_err(Failure::environment)?;
                (end, images)
            }
            QemuTwin::Place(Place::File(mut twin)) => {
                let end = self.local(tap, &mut twin, observers)?;
                let images = vec![twin.path().display().to_string()];
                twin.finish(end.is_good()).map_err(Failure::environment)?;
                (end, images)
            }
            QemuTwin::Place(Place::Remote(mut twin)) => {
                let source = Shadow::new(tap, self.stop.clone());
                let end = self.far(source, &mut *twin, observers)?;
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
        let not_converged = self.args.until.is_some()
            && matches!(&end, EndOf::Reached(end) if matches!(end.ended, Ended::Rounds | Ended::Time));
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

    /// A twin in files: the guest stands still only while its memory is read.
    fn local<K: Local>(
        &self,
        tap: Tap<'_>,
        twin: &mut K,
        observers: Observers<'_>,
    ) -> Result<EndOf, Failure> {
        let mut replication = Replication::start(tap, &mut *twin, (observers, &self.discards))
            .map_err(Failure::environment)?;
        let parts = replication.sink().parts(self.layout).map_err(Failure::environment)?;
        let reached = (|| {
            let (ended, injected) = self.rounds(&mut replication)?;
            let mut still = replication.stand_still(self.stop)?;
            let read = read(&still, self.layout, self.memories, &parts, &self.discards);
            still.source().confirm_still()?;
            still.release()?;
            Ok::<_, RoundError>((ended, injected, read))
        })();
        let finished = replication.finish();
        let (ended, injected, read) = match reached.and_then(|reached| finished.map(|()| reached)) {
            Ok(reached) => reached,
            Err(error) => return Ok(EndOf::Broken(error.to_string(), Findings::default())),
        };
        let mut findings = Findings::default();
        let mut discarded = 0;
        let judge = || {
            let mut trouble = None;
            for ((read, part), (id, region)) in read?.iter().zip(&parts).zip(self.layout.iter()) {
                let mut comparison = compare(&read.memory, part, region.page_size())?;
                trouble = trouble.or(read.set_aside(&mut comparison, region.name()));
                discarded += read.discarded.count();
                let last = |page| read.last_round.get(&page).copied().unwrap_or_default();
                findings.enter(id, region, &comparison, last);
            }
            Ok::<_, memtwin_verdict::CompareError>(trouble)
        };
        let trouble = judge().unwrap_or_else(|error| Some(error.to_string()));
        Ok(EndOf::Reached(End { ended, findings, discarded, trouble, injected }))
    }

    /// A twin on another host, asked while the guest stands still.
    fn far<K: Judged>(
        &self,
        source: Shadow<Tap<'_>>,
        twin: &mut K,
        observers: Observers<'_>,
    ) -> Result<EndOf, Failure> {
        let mut replication = Replication::start(source, &mut *twin, (observers, &self.discards))
            .map_err(Failure::environment)?;
        let mut findings = Findings::default();
        let mut discarded = 0;
        let reached = (|| {
            let (ended, injected) = self.rounds(&mut replication)?;
            let mut still = replication.stand_still(self.stop)?;
            let judged = self.judge_far(&still, &mut findings, &mut discarded);
            let trouble = judged.unwrap_or_else(|error| Some(error.to_string()));
            still.source().inner_mut().confirm_still()?;
            still.release()?;
            Ok::<_, RoundError>((ended, injected, trouble))
        })();
        let finished = replication.finish();
        Ok(match reached.and_then(|reached| finished.map(|()| reached)) {
            Ok((ended, injected, trouble)) => {
                EndOf::Reached(End { ended, findings, discarded, trouble, injected })
            }
            Err(error) => EndOf::Broken(error.to_string(), findings),
        })
    }

    /// Judges a twin on another host. What was sent there is what the shadow holds, so the memory is
    /// read against that. Returns what keeps it from a verdict.
    fn judge_far<K: Judged, O: Observer>(
        &self,
        still: &Still<'_, Shadow<Tap<'_>>, &mut K, O>,
        findings: &mut Findings,
        discarded: &mut u64,
    ) -> Result<Option<String>, JudgeError> {
        let shadow = still.peek();
        let mut trouble = None;
        for (memory, (id, region)) in self.memories.iter().zip(self.layout.iter()) {
            let sent = shadow.kept(id);
            let last = |page| still.last_round(id, page);
            let never_sent = shadow.never_sent(id);
            let read = Read::of(memory, &sent, (id, region), &self.discards, never_sent, last)?;
            let Some(twin) = still.sink().image(self.layout, id, &read.memory).transpose()? else {
                return Ok(trouble);
            };
            let mut comparison = compare(&read.memory, &*twin, region.page_size())?;
            trouble = trouble.or(read.set_aside(&mut comparison, region.name()));
            findings.enter(id, region, &comparison, last);
            *discarded += read.discarded.count();
        }
        Ok(trouble)
    }

    /// No twin: to measure.
    fn discard(&self, tap: Tap<'_>, observers: Observers<'_>) -> Result<EndOf, Failure> {
        let mut replication =
            Replication::start(tap, Discard, observers).map_err(Failure::environment)?;
        let ended = replication.run(&self.plan(), self.stop, |_| ());
        let finished = replication.finish();
        Ok(match ended.and(finished) {
            Ok(()) => EndOf::Discarded,
            Err(error) => EndOf::Broken(error.to_string(), Findings::default()),
        })
    }
}
