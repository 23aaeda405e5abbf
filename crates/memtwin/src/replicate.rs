//! `memtwin replicate`: the seed's daemon. Pre-copy; ask for the bitmap; copy what it names; sleep;
//! again, until told or until clean; then judge.

use crate::bitmap_file::BitmapFile;
use crate::check::end_guest;
use crate::cli::{Replicate, Source, Twin, Until};
use crate::convergence;
use crate::guest::Guest;
use crate::judge::{Findings, Judged};
use crate::memory_file::MemoryFile;
use crate::remote_twin::{self, Place};
use crate::values::Time;
use memtwin_replicate::{
    Ended, Observer, Plan, Replication, RoundError, Sink, Stop, Until as EngineUntil,
};
use memtwin_report::Failure;
use memtwin_report::{Case, ExitCode, Progress, Recorder, RunRecord, Trial, exit};
use memtwin_twin::Discard;
use memtwin_vmm::{Backing, KvmGuest};
use std::time::{Duration, Instant};

/// Replicates, judges, and writes the report.
pub(crate) fn run(args: &Replicate, command: String, stop: &Stop) -> Result<ExitCode, Failure> {
    if let Source::Qemu(socket) = &args.source {
        return crate::replicate_qemu::run(args, socket, command, stop);
    }
    if args.block.is_some() || args.pid.is_some() {
        return Err(Failure::usage("--block and --pid are for a source qemu:QMP-SOCKET"));
    }
    crate::sizes::check(Some(args.size.0))?;
    crate::output::probe(&args.output)?;
    // The twin asks for itself when it is opened, if it is memory too.
    let times = u64::from(memtwin_room::is_memory(&args.memory));
    crate::room::for_window(Some(&args.memory), args.size.0, times)
        .map_err(Failure::environment)?;
    // Refused before a guest is made: a twin that can't be written, a file that is in use.
    let twin = Place::take(args, stop)?;
    let bitmap = BitmapFile::wanted(args.dirty_bitmap.as_deref())?;
    let mut memory = MemoryFile::create(&args.memory, args.size.0).map_err(Failure::environment)?;
    let file = memory.file().map_err(Failure::environment)?;
    let seed = crate::seed::fresh();
    let session = Session { args, stop, bitmap };
    let outcome = match &args.source {
        Source::Qemu(_) => unreachable!("it has a way of its own"),
        Source::Kvm => {
            let guest = KvmGuest::new(memtwin_vmm::Config {
                mode: args.mode,
                backing: Backing::Shm,
                file: Some(file),
                bytes: args.size.0,
                vcpus: usize::from(args.vcpus),
                stressor: args.stressor,
                seed,
                translation: None,
                ring_entries: 4096,
            });
            session.run(guest.map_err(Failure::environment)?, twin)?
        }
        Source::Process => {
            let guest = crate::process_guest::make(
                args.size.0,
                usize::from(args.vcpus),
                args.stressor,
                seed,
                Some(file),
            );
            session.run(guest.map_err(Failure::environment)?, twin)?
        }
    };
    if outcome.judged {
        memory.keep();
    }
    finish(args, command, stop, outcome)
}

/// What a replication came to.
struct Outcome {
    case: Case,
    judged: bool,
    not_converged: bool,
    closing: Vec<String>,
}

fn finish(
    args: &Replicate,
    command: String,
    stop: &Stop,
    outcome: Outcome,
) -> Result<ExitCode, Failure> {
    let Outcome { case, mut closing, not_converged, .. } = outcome;
    for digests in case.digest().values() {
        // As `sum -r` prints it, to be compared by eye.
        let blocks = args.size.0.div_ceil(1024);
        let twin = match &args.twin {
            Twin::File(path) => path.display().to_string(),
            Twin::Remote(target) => target.to_string(),
            Twin::Discard => "discard".to_owned(),
        };
        closing.push(format!(
            "{:05} {blocks:>5} {}",
            digests.memory.bsd_sum,
            args.memory.display()
        ));
        closing.push(format!("{:05} {blocks:>5} {twin}", digests.twin.bsd_sum));
    }
    let cases = [case];
    let code = exit::of_cases(&cases, not_converged, stop.is_set());
    let record = RunRecord::new(command, cases.into());
    crate::output::write(&args.output, &record, &closing)?;
    Ok(code)
}

struct Session<'a> {
    args: &'a Replicate,
    stop: &'a Stop,
    bitmap: Option<BitmapFile>,
}

impl Session<'_> {
    fn run<G: Guest>(self, guest: G, twin: Place) -> Result<Outcome, Failure> {
        match twin {
            Place::File(mut twin) => {
                let outcome = self.replicate(guest, &mut twin)?;
                let whole = outcome.case.passed();
                twin.finish(whole).map_err(Failure::environment)?;
                Ok(outcome)
            }
            Place::Remote(mut twin) => self.replicate(guest, &mut *twin),
            Place::Nowhere => self.replicate(guest, &mut Discard),
        }
    }

    fn replicate<G: Guest, K: Judged>(
        mut self,
        guest: G,
        twin: &mut K,
    ) -> Result<Outcome, Failure> {
        let name = if self.args.source == Source::Kvm { "kvm" } else { "process" };
        let case = format!("replicate/{name}");
        let layout = guest.layout().clone();
        let mut recorder = Recorder::default();
        let mut progress = Progress::new(crate::output::progress_mode(&self.args.output), 1);
        progress.case(&case);
        let mut findings = Findings::default();
        let mut bitmap = self.bitmap.take();
        let observer = ((&mut recorder, &mut progress), bitmap.as_mut());
        // Nothing has been copied yet: whatever is in the way now is a matter of this host.
        let replication =
            Replication::start(guest, &mut *twin, observer).map_err(Failure::environment)?;
        let end = self.rounds(replication, &mut findings);
        drop(progress);

        let trial = Trial::new(case, name, &layout).rounds(recorder.rounds());
        let mut closing: Vec<String> = bitmap.iter().filter_map(BitmapFile::failure).collect();
        let figures = twin.figures();
        closing.extend(figures.iter().map(convergence::sent));
        let spare = trial.clone();
        let mut outcome = match end {
            Err(RoundError::Interrupted) => Outcome {
                case: trial.inconclusive("interrupted", findings.lost()),
                judged: false,
                not_converged: false,
                closing,
            },
            Err(error) => Outcome {
                case: trial.inconclusive(error, findings.lost()),
                judged: false,
                not_converged: false,
                closing,
            },
            Ok(end) => {
                let not_converged =
                    self.args.until.is_some() && matches!(end.ended, Ended::Rounds | Ended::Time);
                if not_converged {
                    closing.push(
                        "did not converge: the log was never clean within the limit; raise it, \
                         shorten --interval, or slow the guest with --pace"
                            .to_owned(),
                    );
                    closing.push(convergence::numbers(recorder.rounds(), &layout, figures));
                }
                let case = match (end.trouble, self.args.twin == Twin::Discard) {
                    (Some(trouble), _) => trial.inconclusive(trouble, findings.lost()),
                    (None, true) => trial.not_judged("a twin that was discarded can't be judged"),
                    (None, false) => trial.judged(findings.lost(), findings.digests()),
                };
                Outcome { case, judged: true, not_converged, closing }
            }
        };
        let told = remote_twin::conclude(twin, &outcome.case, &layout);
        // Nobody else has the twin: if it is not kept there, it is nowhere.
        if let Err(why) = told
            && outcome.case.passed()
        {
            outcome.case = spare.inconclusive(why, findings.lost());
        }
        Ok(outcome)
    }

    fn rounds<G: Guest, K: Judged, O: Observer>(
        &self,
        mut replication: Replication<G, K, O>,
        findings: &mut Findings,
    ) -> Result<End, RoundError> {
        replication.source_mut().pace(self.args.pace);
        replication.source_mut().start();
        let ended = self.loops(&mut replication)?;
        let mut trouble = look(&mut replication, self.stop, findings)?;
        if ended != Ended::GuestStopped {
            // The guest is our own and ends with us. Its memory file stays, and has to be what the
            // twin is: judged once more, when nothing can write any more.
            end_guest(&mut replication, self.stop)?;
            trouble = trouble.or(look(&mut replication, self.stop, findings)?);
        }
        replication.finish()?;
        Ok(End { ended, trouble })
    }

    /// Runs the rounds; when the stressors' time is over, ends them and runs on.
    fn loops<G: Guest, K: Sink, O: Observer>(
        &self,
        replication: &mut Replication<G, K, O>,
    ) -> Result<Ended, RoundError> {
        let args = self.args;
        let began = Instant::now();
        let within =
            |limit: Option<Time>| limit.map(|Time(limit)| limit.saturating_sub(began.elapsed()));
        let plan = |replication: &Replication<G, K, O>, time: Option<Duration>| Plan {
            interval: args.interval.0,
            until: if args.until == Some(Until::Clean) {
                EngineUntil::Clean
            } else {
                EngineUntil::Told
            },
            rounds: args.rounds.map(|most| most.saturating_sub(replication.deltas())),
            time,
            still_every: None,
        };
        if args.guest_seconds.is_some() {
            let time = match (within(args.guest_seconds), within(args.limit())) {
                (Some(guest), Some(all)) => Some(guest.min(all)),
                (guest, all) => guest.or(all),
            };
            let ended = replication.run(&plan(replication, time), self.stop, |_| ())?;
            let all_over = args.limit().is_some_and(|Time(all)| began.elapsed() >= all);
            if ended != Ended::Time || all_over {
                return Ok(ended);
            }
            end_guest(replication, self.stop)?;
        }
        let time = within(args.limit());
        replication.run(&plan(replication, time), self.stop, |_| ())
    }
}

/// Pauses the guest and compares; what kept the judge from looking, if anything did.
fn look<G: Guest, K: Judged, O: Observer>(
    replication: &mut Replication<G, K, O>,
    stop: &Stop,
    findings: &mut Findings,
) -> Result<Option<String>, RoundError> {
    let mut still = replication.stand_still(stop)?;
    let trouble = findings.look(&mut still).err().map(|error| error.to_string());
    still.release()?;
    Ok(trouble)
}

struct End {
    ended: Ended,
    trouble: Option<String>,
}
