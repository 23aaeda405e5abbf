//! A replication of a guest of our own: pre-copy, then rounds of what the log names until told or until
//! clean; then the guest is paused and judged.

use crate::bitmap_file::BitmapFile;
use crate::convergence;
use crate::driver::OwnGuest;
use crate::guest::{GuestControl, ReadMemory};
use crate::helper::HelperCommand;
use crate::judge::InPlaceJudge;
use crate::memory_file::MemoryFile;
use crate::observer::SessionObserver;
use crate::open_twin::{OpenTwin, TwinTarget};
use crate::provenance::Provenance;
use crate::session::{LastStop, Session, SessionPlan};
use crate::verdict::Override;
use memtwin_kvm::Mode;
use memtwin_replicate::{CancelToken, RoundPlan, Source, StopReason, Until};
use memtwin_report::record::RegionDigests;
use memtwin_report::{Case, CaseBuilder, Failure, Recorder};
use memtwin_stressor::Stressor;
use memtwin_vmm::{Backing, KvmGuest};
use std::path::PathBuf;
use std::time::Duration;

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
    /// At most this many rounds after pre-copy.
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
    pub trial: CaseBuilder,
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
    stop: &CancelToken,
    observer: &mut dyn SessionObserver,
) -> Result<Replicated, Failure> {
    // The twin asks for itself when it is opened, if it is memory too.
    let times = u64::from(memtwin_room::is_memory(&config.memory));
    crate::room::for_window(Some(&config.memory), config.size, times)
        .map_err(Failure::environment)?;
    // Refused before a guest is made: a twin that can't be written, a file that is in use.
    let twin = OpenTwin::open(&config.twin, stop)?;
    let bitmap = BitmapFile::wanted(config.dirty_bitmap.as_deref())?;
    let mut memory =
        MemoryFile::create(&config.memory, config.size).map_err(Failure::environment)?;
    let file = memory.file().map_err(Failure::environment)?;
    let seed = crate::seed::fresh();
    let vcpus = usize::from(config.vcpus);
    let (replicated, is_judged) = match &config.guest {
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
            run(config, guest.map_err(Failure::environment)?, twin, bitmap, stop, observer)?
        }
        ReplicatedGuest::Process(writer) => {
            let (bytes, stressor) = (config.size, config.stressor);
            let guest =
                crate::process_guest::make(writer, bytes, vcpus, stressor, seed, Some(file));
            run(config, guest.map_err(Failure::environment)?, twin, bitmap, stop, observer)?
        }
    };
    if is_judged {
        memory.keep();
    }
    Ok(replicated)
}

/// Replicates this guest. Whether the stop was reached comes with what it came to.
fn run<G: Source + GuestControl + ReadMemory + Provenance>(
    config: &ReplicateConfig,
    guest: G,
    mut twin: OpenTwin,
    mut bitmap: Option<BitmapFile>,
    stop: &CancelToken,
    observer: &mut dyn SessionObserver,
) -> Result<(Replicated, bool), Failure> {
    let source = guest.provenance().source;
    let case = format!("replicate/{source}");
    let layout = guest.layout().clone();
    let mut recorder = Recorder::default();
    observer.case_started(&case);
    let mut judge = InPlaceJudge::new(false);
    let session = Session {
        source: guest,
        sink: &mut twin,
        observer: ((&mut recorder, observer), bitmap.as_mut()),
        plan: config.plan(),
        guest: OwnGuest { pace: config.pace, after_precopy: false },
        judge: &mut judge,
        stop,
    };
    // Nothing was copied yet: whatever is in the way then is a matter of this host.
    let end = session.run().map_err(Failure::environment)?;

    let trial = CaseBuilder::new(case, source, &layout).rounds(recorder.rounds());
    let mut notes: Vec<String> = bitmap.iter().filter_map(BitmapFile::failure).collect();
    let figures = twin.figures();
    notes.extend(figures.iter().map(convergence::sent));
    let not_converged = config.until == Until::Clean
        && matches!(end.ended(), Some(StopReason::Rounds | StopReason::Time));
    if not_converged {
        notes.push(
            "did not converge: the log was never clean within the limit; raise it, \
             shorten --interval, or slow the guest with --pace"
                .to_owned(),
        );
        notes.push(convergence::numbers(recorder.rounds(), &layout, figures));
    }
    let mut facts = judge.facts(&end);
    facts.overrides.extend(twin.is_discarded().then_some(Override::TwinDiscarded));
    let case = twin.conclude(&trial, facts, &layout)?;
    let sums = sums(config, &case);
    let is_judged = end.ended().is_some();
    Ok((Replicated { case, trial, not_converged, notes, sums }, is_judged))
}

impl ReplicateConfig {
    fn plan(&self) -> SessionPlan<'static> {
        SessionPlan {
            rounds: RoundPlan {
                interval: self.interval,
                until: self.until,
                rounds: self.rounds,
                time: self.time,
                still_every: None,
            },
            guest_time: self.guest_time,
            controller: None,
            // The guest is our own and ends with us. Its memory file stays, and has to be what the
            // twin is: judged once more, when nothing can write any more.
            last_stop: LastStop::RunningThenEnded,
        }
    }
}

/// Of both sides, as `sum -r` prints it, to be compared by eye.
fn sums(config: &ReplicateConfig, case: &Case) -> Vec<String> {
    let blocks = config.size.div_ceil(1024);
    let both = |digests: &RegionDigests| {
        [
            format!("{:05} {blocks:>5} {}", digests.memory.bsd_sum, config.memory.display()),
            format!("{:05} {blocks:>5} {}", digests.twin.bsd_sum, config.twin),
        ]
    };
    case.digest().values().flat_map(both).collect()
}
