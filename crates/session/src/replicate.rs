//! A replication of a guest of our own: pre-copy, then rounds of what the log names until told or until
//! clean; then the guest is paused and judged.

use crate::bitmap_file::BitmapFile;
use crate::check::end_guest;
use crate::convergence;
use crate::guest::Guest;
use crate::helper::HelperCommand;
use crate::judge::{Findings, Judged};
use crate::memory_file::MemoryFile;
use crate::observer::SessionObserver;
use crate::remote_twin::{self, Place, TwinTarget};
use memtwin_kvm::Mode;
use memtwin_replicate::{Ended, Observer, Plan, Replication, RoundError, Sink, Stop, Until};
use memtwin_report::{Case, Failure, Recorder, Trial};
use memtwin_stressor::Stressor;
use memtwin_twin::Discard;
use memtwin_vmm::{Backing, KvmGuest};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A guest of our own.
#[derive(Clone, Debug)]
pub enum ReplicatedGuest {
    /// The embedded guest on /dev/kvm, its log read in this mode.
    Kvm(Mode),
    /// A plain process, started by this command.
    Process(HelperCommand),
}

/// What to replicate, and where to.
#[derive(Clone, Debug)]
pub struct ReplicateConfig {
    /// The guest.
    pub guest: ReplicatedGuest,
    /// Where its twin is kept.
    pub twin: TwinTarget,
    /// The file behind its window.
    pub memory: PathBuf,
    /// The window's size in bytes.
    pub size: u64,
    /// How many vCPUs (or threads) write.
    pub vcpus: u16,
    /// How pages get dirty.
    pub stressor: Stressor,
    /// How many pages a second they write together; `None`: as many as they can.
    pub pace: Option<u64>,
    /// How long they write; `None`: to the end.
    pub guest_time: Option<Duration>,
    /// How long to sleep between rounds.
    pub interval: Duration,
    /// What ends the rounds.
    pub until: Until,
    /// At most so many rounds after pre-copy.
    pub rounds: Option<u32>,
    /// At most so long.
    pub time: Option<Duration>,
    /// A file for each round's dirty bitmap.
    pub dirty_bitmap: Option<PathBuf>,
}

/// What a replication came to.
#[derive(Debug)]
pub struct Replicated {
    /// The case.
    pub case: Case,
    /// The same case without its verdict, for a caller who knows more than the twin's judge.
    pub trial: Trial,
    /// Whether the log was never clean within the limit, although that was waited for.
    pub not_converged: bool,
    /// What there is to say beside the case, for the record.
    pub notes: Vec<String>,
    /// Of each region and its twin, as `sum -r` prints it, for the record too.
    pub sums: Vec<String>,
}

/// Replicates and judges.
///
/// Errors: the guest, its memory file or the twin is not available.
pub fn replicate(
    config: &ReplicateConfig,
    stop: &Stop,
    observer: &mut dyn SessionObserver,
) -> Result<Replicated, Failure> {
    // The twin asks for itself when it is opened, if it is memory too.
    let times = u64::from(memtwin_room::is_memory(&config.memory));
    crate::room::for_window(Some(&config.memory), config.size, times)
        .map_err(Failure::environment)?;
    // Refused before a guest is made: a twin that can't be written, a file that is in use.
    let twin = Place::take(&config.twin, stop)?;
    let bitmap = BitmapFile::wanted(config.dirty_bitmap.as_deref())?;
    let mut memory =
        MemoryFile::create(&config.memory, config.size).map_err(Failure::environment)?;
    let file = memory.file().map_err(Failure::environment)?;
    let seed = crate::seed::fresh();
    let vcpus = usize::from(config.vcpus);
    let session = Session { config, stop, bitmap, observer };
    let (outcome, judged) = match &config.guest {
        ReplicatedGuest::Kvm(mode) => {
            let guest = KvmGuest::new(memtwin_vmm::Config {
                mode: *mode,
                backing: Backing::Shm,
                file: Some(file),
                bytes: config.size,
                vcpus,
                stressor: config.stressor,
                seed,
                translation: None,
                ring_entries: 4096,
            });
            session.run(guest.map_err(Failure::environment)?, twin)?
        }
        ReplicatedGuest::Process(writer) => {
            let (bytes, stressor) = (config.size, config.stressor);
            let guest =
                crate::process_guest::make(writer, bytes, vcpus, stressor, seed, Some(file));
            session.run(guest.map_err(Failure::environment)?, twin)?
        }
    };
    if judged {
        memory.keep();
    }
    Ok(outcome)
}

/// Of both sides, as `sum -r` prints it, to be compared by eye.
fn sums(config: &ReplicateConfig, case: &Case) -> Vec<String> {
    let blocks = config.size.div_ceil(1024);
    let both = |digests: &memtwin_report::record::Digests| {
        [
            format!("{:05} {blocks:>5} {}", digests.memory.bsd_sum, config.memory.display()),
            format!("{:05} {blocks:>5} {}", digests.twin.bsd_sum, config.twin),
        ]
    };
    case.digest().values().flat_map(both).collect()
}

struct Session<'a> {
    config: &'a ReplicateConfig,
    stop: &'a Stop,
    bitmap: Option<BitmapFile>,
    observer: &'a mut dyn SessionObserver,
}

impl Session<'_> {
    fn run<G: Guest>(self, guest: G, twin: Place) -> Result<(Replicated, bool), Failure> {
        match twin {
            Place::File(mut twin) => {
                let outcome = self.replicate(guest, &mut twin)?;
                let whole = outcome.0.case.passed();
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
    ) -> Result<(Replicated, bool), Failure> {
        let name = match self.config.guest {
            ReplicatedGuest::Kvm(_) => "kvm",
            ReplicatedGuest::Process(_) => "process",
        };
        let case = format!("replicate/{name}");
        let layout = guest.layout().clone();
        let mut recorder = Recorder::default();
        self.observer.case_started(&case);
        let mut findings = Findings::default();
        let mut bitmap = self.bitmap.take();
        let observer = ((&mut recorder, &mut *self.observer), bitmap.as_mut());
        // Nothing has been copied yet: whatever is in the way now is a matter of this host.
        let replication =
            Replication::start(guest, &mut *twin, observer).map_err(Failure::environment)?;
        let end = rounds(self.config, self.stop, replication, &mut findings);

        let trial = Trial::new(case, name, &layout).rounds(recorder.rounds());
        let mut notes: Vec<String> = bitmap.iter().filter_map(BitmapFile::failure).collect();
        let figures = twin.figures();
        notes.extend(figures.iter().map(convergence::sent));
        let spare = trial.clone();
        let judged = end.is_ok();
        let mut not_converged = false;
        let mut case = match end {
            Err(error) => trial.inconclusive(error, findings.lost()),
            Ok(end) => {
                not_converged = self.config.until == Until::Clean
                    && matches!(end.ended, Ended::Rounds | Ended::Time);
                if not_converged {
                    notes.push(
                        "did not converge: the log was never clean within the limit; raise it, \
                         shorten --interval, or slow the guest with --pace"
                            .to_owned(),
                    );
                    notes.push(convergence::numbers(recorder.rounds(), &layout, figures));
                }
                match (end.trouble, &self.config.twin) {
                    (Some(trouble), _) => trial.inconclusive(trouble, findings.lost()),
                    (None, TwinTarget::Discard) => {
                        trial.not_judged("a twin that was discarded can't be judged")
                    }
                    (None, _) => trial.judged(findings.lost(), findings.digests()),
                }
            }
        };
        let told = remote_twin::conclude(twin, &case, &layout);
        // Nobody else has the twin: if it is not kept there, it is nowhere.
        if let Err(why) = told
            && case.passed()
        {
            case = spare.clone().inconclusive(why, findings.lost());
        }
        let sums = sums(self.config, &case);
        Ok((Replicated { case, trial: spare, not_converged, notes, sums }, judged))
    }
}

fn rounds<G: Guest, K: Judged, O: Observer>(
    config: &ReplicateConfig,
    stop: &Stop,
    mut replication: Replication<G, K, O>,
    findings: &mut Findings,
) -> Result<End, RoundError> {
    replication.source_mut().pace(config.pace);
    replication.source_mut().start();
    let ended = loops(config, stop, &mut replication)?;
    let mut trouble = look(&mut replication, stop, findings)?;
    if ended != Ended::GuestStopped {
        // The guest is our own and ends with us. Its memory file stays, and has to be what the
        // twin is: judged once more, when nothing can write any more.
        end_guest(&mut replication, stop)?;
        trouble = trouble.or(look(&mut replication, stop, findings)?);
    }
    replication.finish()?;
    Ok(End { ended, trouble })
}

/// Runs the rounds; when the stressors' time is over, ends them and runs on.
fn loops<G: Guest, K: Sink, O: Observer>(
    config: &ReplicateConfig,
    stop: &Stop,
    replication: &mut Replication<G, K, O>,
) -> Result<Ended, RoundError> {
    let began = Instant::now();
    let within = |limit: Option<Duration>| limit.map(|limit| limit.saturating_sub(began.elapsed()));
    let plan = |replication: &Replication<G, K, O>, time: Option<Duration>| Plan {
        interval: config.interval,
        until: config.until,
        rounds: config.rounds.map(|most| most.saturating_sub(replication.deltas())),
        time,
        still_every: None,
    };
    if config.guest_time.is_some() {
        let time = match (within(config.guest_time), within(config.time)) {
            (Some(guest), Some(all)) => Some(guest.min(all)),
            (guest, all) => guest.or(all),
        };
        let ended = replication.run(&plan(replication, time), stop, |_| ())?;
        let all_over = config.time.is_some_and(|all| began.elapsed() >= all);
        if ended != Ended::Time || all_over {
            return Ok(ended);
        }
        end_guest(replication, stop)?;
    }
    let time = within(config.time);
    replication.run(&plan(replication, time), stop, |_| ())
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
