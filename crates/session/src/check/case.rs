//! One case from its guest to its verdict.

use super::CheckConfig;
use super::select::{CaseSpec, Log};
use crate::guest::{Guest, no_layout};
use crate::judge::{Findings, page_at};
use crate::observer::SessionObserver;
use memtwin_kvm::LogStorage;
use memtwin_mapping::host_page_size;
use memtwin_process::ProcessGuest;
use memtwin_replicate::{Ended, GuestState, Plan, Replication, RoundError, Still, Stop, Until};
use memtwin_report::record::{LostPage, PageAt};
use memtwin_report::{Case, Recorder, Trial};
use memtwin_stressor::Stressor;
use memtwin_twin::{Injector, MemoryTwin};
use memtwin_vmm::{Backing, KvmGuest};
use std::fs::File;
use std::time::Duration;

/// The seed's window.
const DEFAULT_BYTES: u64 = 1 << 20;
/// How many rounds a case runs, unless told.
const DEFAULT_ROUNDS: u32 = 100;
/// After how many rounds the judge looks, so that a loss which a later write covers is seen.
const STILL_EVERY: u32 = 20;
/// How many pages a control keeps back.
const INJECTED: u64 = 3;
/// How long to wait for the stressors to hear that they are to stop; they are watched meanwhile.
const STOP_POLL: Duration = Duration::from_millis(1);

/// What all cases of a run share.
#[derive(Debug)]
pub(crate) struct Run<'r> {
    /// What was asked for.
    pub(crate) config: &'r CheckConfig,
    /// Where the random choices begin.
    pub(crate) seed: u64,
    /// The file behind shm windows, if there is one.
    pub(crate) memory: Option<File>,
    /// Why no ring of this host can earn a pass, if so.
    pub(crate) ring_broken: Option<String>,
    /// Set when a signal came.
    pub(crate) stop: &'r Stop,
}

/// A guest that could not be made.
enum NoGuest {
    /// This host can't, or not now.
    Skip(String),
    /// It should have worked.
    Failed(String),
}

impl Run<'_> {
    /// Runs a case. `None` if a signal came before there was anything to say.
    pub(crate) fn case(&self, spec: CaseSpec, observer: &mut dyn SessionObserver) -> Option<Case> {
        let bytes = self.bytes(spec);
        match spec.log {
            Log::Kvm(_) => self.with(spec, self.kvm_guest(spec, bytes), observer),
            Log::Process => self.with(spec, self.process_guest(spec, bytes), observer),
        }
    }

    /// The size of a case's window in bytes.
    pub(crate) fn bytes(&self, spec: CaseSpec) -> u64 {
        self.config.size.unwrap_or_else(|| match spec.backing {
            Backing::Shm | Backing::Anon => DEFAULT_BYTES.next_multiple_of(host_page_size() as u64),
            // Two, so that a boundary between them is crossed.
            Backing::Thp | Backing::Hugetlb => 2 * spec.backing.unit(),
        })
    }

    fn file(&self, spec: CaseSpec) -> Result<Option<File>, NoGuest> {
        match &self.memory {
            Some(file) if spec.backing == Backing::Shm => {
                file.try_clone().map(Some).map_err(|error| NoGuest::Failed(error.to_string()))
            }
            _ => Ok(None),
        }
    }

    fn kvm_guest(&self, spec: CaseSpec, bytes: u64) -> Result<KvmGuest, NoGuest> {
        let Log::Kvm(mode) = spec.log else {
            return Err(NoGuest::Failed("not a case of KVM".to_owned()));
        };
        KvmGuest::new(memtwin_vmm::Config {
            mode,
            backing: spec.backing,
            file: self.file(spec)?,
            bytes,
            vcpus: usize::from(spec.vcpus),
            stressor: spec.stressor,
            seed: self.seed,
            translation: spec.translation,
            ring_entries: self.config.ring_entries,
        })
        .map_err(|error| {
            let reason = error.to_string();
            if error.is_skip() { NoGuest::Skip(reason) } else { NoGuest::Failed(reason) }
        })
    }

    fn process_guest(&self, spec: CaseSpec, bytes: u64) -> Result<ProcessGuest, NoGuest> {
        crate::process_guest::make(
            &self.config.writer,
            bytes,
            usize::from(spec.vcpus),
            spec.stressor,
            self.seed,
            self.file(spec)?,
        )
        .map_err(|error| {
            let reason = error.to_string();
            if error.is_skip() { NoGuest::Skip(reason) } else { NoGuest::Failed(reason) }
        })
    }

    fn with<G: Guest>(
        &self,
        spec: CaseSpec,
        guest: Result<G, NoGuest>,
        observer: &mut dyn SessionObserver,
    ) -> Option<Case> {
        let name = spec.to_string();
        match guest {
            Err(NoGuest::Skip(reason)) => Some(Case::skipped(name, source(spec), reason)),
            Err(NoGuest::Failed(reason)) => {
                Some(Trial::new(name, source(spec), &no_layout()).inconclusive(reason, Vec::new()))
            }
            Ok(guest) if spec.control => {
                self.judge(spec, Injector::new(guest, INJECTED, self.seed), observer)
            }
            Ok(guest) => self.judge(spec, guest, observer),
        }
    }

    /// Replicates, compares, and says what came of it.
    fn judge<G: Guest>(
        &self,
        spec: CaseSpec,
        guest: G,
        observer: &mut dyn SessionObserver,
    ) -> Option<Case> {
        let mut recorder = Recorder::default();
        let mut findings = Findings::default();
        let mut trial = Trial::new(spec.to_string(), source(spec), guest.layout());
        let end = self.replicate(spec, guest, (&mut recorder, observer), &mut findings);
        trial = trial.rounds(recorder.rounds());
        let end = match end {
            Err(Trouble::Interrupted) => return None,
            other => other,
        };
        if spec.control {
            trial = trial.control(end.as_ref().map(|end| end.injected.clone()).unwrap_or_default());
        }
        let dirty: u64 = recorder.rounds().iter().map(|round| round.dirty_pages).sum();
        let lost: Vec<LostPage> = findings.lost();
        Some(match end {
            Err(Trouble::Interrupted) => return None,
            Err(Trouble::Reason(reason)) => trial.inconclusive(reason, lost),
            Ok(end) if spec.control && end.injected.is_empty() => {
                trial.inconclusive("the control had no changed page to keep back", lost)
            }
            Ok(end) if end.written == 0 => trial.inconclusive("the guest wrote nothing", lost),
            // With a control the pages kept back may have been all there were.
            Ok(_) if dirty == 0 && lost.is_empty() && !spec.control => {
                trial.inconclusive("the guest wrote, the log named no page, and none differs", lost)
            }
            Ok(end) => match self.unearned(spec) {
                // Unless it has shown a loss that nobody injected: that is a verdict.
                Some(reason) if lost.iter().all(|page| end.injected.contains(&page.at())) => {
                    trial.inconclusive(reason, lost)
                }
                _ => trial.judged(lost, findings.digests()),
            },
        })
    }

    /// Why a case can't be passed, however it ends.
    fn unearned(&self, spec: CaseSpec) -> Option<String> {
        match spec.log.storage() {
            LogStorage::Rings => self.ring_broken.clone(),
            LogStorage::Bitmap => None,
        }
    }

    fn replicate<G: Guest>(
        &self,
        spec: CaseSpec,
        guest: G,
        observer: (&mut Recorder, &mut dyn SessionObserver),
        findings: &mut Findings,
    ) -> Result<End, Trouble> {
        let mut replication = Replication::start(guest, MemoryTwin::new(), observer)?;
        let plan = self.plan(spec);
        if spec.stressor == Stressor::Once {
            // Each page is written once, so after pre-copy, and spread over the rounds: then only
            // the log can bring it to the twin.
            replication.round(self.stop)?;
            let pages = replication.layout().pages();
            replication.source_mut().pace(Some(self.once_pace(pages)));
        }
        replication.source_mut().start();

        let mut trouble = None;
        let ended = replication.run(&plan, self.stop, |still| {
            trouble = trouble.take().or(findings.look(still).err());
        })?;
        if ended != Ended::GuestStopped {
            end_guest(&mut replication, self.stop)?;
        }
        let mut still = replication.stand_still(self.stop)?;
        let trouble = trouble.or(findings.look(&mut still).err());
        let injected = still.compare(injected).map_err(RoundError::from)??;
        let end = End { written: still.source().written(), injected };
        still.release()?;
        replication.finish()?;
        match trouble {
            Some(error) => Err(Trouble::Reason(error.to_string())),
            None => Ok(end),
        }
    }

    fn plan(&self, spec: CaseSpec) -> Plan {
        let told = self.config.rounds.is_some() || self.config.time.is_some();
        // `once` ends by itself, when every page is written.
        let by_itself = spec.stressor == Stressor::Once && !told;
        let default = if told || by_itself { None } else { Some(DEFAULT_ROUNDS) };
        Plan {
            interval: self.config.interval,
            until: Until::Told,
            rounds: self.config.rounds.or(default),
            time: self.config.time,
            still_every: Some(STILL_EVERY),
        }
    }

    /// How many pages a second `once` writes, to be through in about two thirds of the case.
    fn once_pace(&self, pages: u64) -> u64 {
        let rounds = f64::from(self.config.rounds.unwrap_or(DEFAULT_ROUNDS));
        let time = self
            .config
            .time
            .map_or(rounds * self.config.interval.as_secs_f64(), |time| time.as_secs_f64());
        ((pages as f64 / (time * 0.66).max(0.01)) as u64).max(1)
    }
}

/// How a replication ended.
struct End {
    written: u64,
    injected: Vec<PageAt>,
}

/// Why there is no verdict.
enum Trouble {
    Interrupted,
    Reason(String),
}

impl From<RoundError> for Trouble {
    fn from(error: RoundError) -> Self {
        match error {
            RoundError::Interrupted => Self::Interrupted,
            other => Self::Reason(other.to_string()),
        }
    }
}

fn source(spec: CaseSpec) -> &'static str {
    match spec.log {
        Log::Kvm(_) => "kvm",
        Log::Process => "process",
    }
}

/// Tells the stressors to stop, and waits until all have heard.
pub(crate) fn end_guest<G, K, O>(
    replication: &mut Replication<G, K, O>,
    stop: &Stop,
) -> Result<(), RoundError>
where
    G: Guest,
    K: memtwin_replicate::Sink,
    O: memtwin_replicate::Observer,
{
    replication.source_mut().pace(None);
    replication.source_mut().stop();
    while replication.guest()? == GuestState::Running {
        if stop.wait(STOP_POLL) {
            return Err(RoundError::Interrupted);
        }
    }
    Ok(())
}

fn injected<G, K, O>(still: &mut Still<'_, G, K, O>) -> Result<Vec<PageAt>, RoundError>
where
    G: Guest,
    K: memtwin_replicate::Sink,
    O: memtwin_replicate::Observer,
{
    let pages = still.source().injected()?;
    Ok(pages.into_iter().map(|(region, page)| page_at(still.layout(), region, page)).collect())
}
