//! A replication of any source whose log the engine collects: pre-copy, then rounds of what the log names until
//! told or until clean; then the guest is paused and judged. A guest with a window of our own is made by
//! `replicate`, one that comes from elsewhere is handed in.

use crate::bitmap_file::BitmapFile;
use crate::convergence;
use crate::driver::OwnGuest;
use crate::judge::InPlaceJudge;
use crate::observer::SessionObserver;
use crate::open_twin::{OpenTwin, TwinTarget};
use crate::session::{LastStop, Session, SessionPlan};
use crate::sums::sums;
use crate::verdict::Override;
use memtwin_pages::Region;
use memtwin_replicate::{
    CancelToken, GuestControl, Provenance, ReadMemory, RoundPlan, Source, StopReason, Until,
};
use memtwin_report::{Case, CaseBuilder, Failure, Recorder};
use std::path::PathBuf;
use std::time::Duration;

/// How to replicate a source, whatever its memory is, and where to.
#[derive(Clone, Debug)]
pub struct SourceReplicateConfig {
    /// Where its twin is kept.
    pub twin: TwinTarget,
    /// How many pages a second its writers write together; `None`: as many as they can.
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

impl SourceReplicateConfig {
    /// A round each 100 ms until it is told to stop.
    pub fn new(twin: TwinTarget) -> Self {
        Self {
            twin,
            pace: None,
            guest_time: None,
            interval: Duration::from_millis(100),
            until: Until::Told,
            rounds: None,
            time: None,
            dirty_bitmap: None,
        }
    }

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
            // The guest is our own and ends with us. Its memory stays, and has to be what the twin
            // is: judged once more, when nothing can write any more.
            last_stop: LastStop::RunningThenEnded,
        }
    }
}

/// Replicates a source and judges. `make` is called when the twin is open: what can't be written is refused
/// before there is a guest.
///
/// Errors: the guest or the twin is not available.
pub fn replicate_source<G: Source + GuestControl + ReadMemory + Provenance>(
    config: &SourceReplicateConfig,
    make: impl FnOnce() -> Result<G, Failure>,
    stop: &CancelToken,
    observer: &mut dyn SessionObserver,
) -> Result<Replicated, Failure> {
    let prepared = Prepared::open(config, stop)?;
    prepared.replicate(make()?, stop, observer).map(|(replicated, _)| replicated)
}

/// What a replication writes to, opened before there is a guest.
pub(crate) struct Prepared<'c> {
    config: &'c SourceReplicateConfig,
    twin: OpenTwin,
    bitmap: Option<BitmapFile>,
}

impl<'c> Prepared<'c> {
    /// Errors: the twin or the bitmaps' file is not available.
    pub(crate) fn open(
        config: &'c SourceReplicateConfig,
        stop: &CancelToken,
    ) -> Result<Self, Failure> {
        let twin = OpenTwin::open(&config.twin, stop)?;
        let bitmap = BitmapFile::wanted(config.dirty_bitmap.as_deref())?;
        Ok(Self { config, twin, bitmap })
    }

    /// Replicates this guest. Whether the stop was reached comes with what it came to.
    pub(crate) fn replicate<G: Source + GuestControl + ReadMemory + Provenance>(
        self,
        guest: G,
        stop: &CancelToken,
        observer: &mut dyn SessionObserver,
    ) -> Result<(Replicated, bool), Failure> {
        let Self { config, mut twin, mut bitmap } = self;
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

        let trial = CaseBuilder::new(case, source, &layout).recorded(&recorder);
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
        let images = twin.image_names(&layout);
        let case = twin.conclude(&trial, facts, &layout)?;
        let names: Vec<_> = layout.iter().map(|(_, region): (_, &Region)| region.name()).collect();
        let sums = sums(&layout, &names, &images, &case);
        let is_judged = end.ended().is_some();
        Ok((Replicated { case, trial, not_converged, notes, sums }, is_judged))
    }
}
