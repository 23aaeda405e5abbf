//! One case from its guest to its verdict.

use super::CheckConfig;
use super::select::{CaseSpec, CheckedLog};
use crate::driver::OwnGuest;
use crate::host_facts::own_vmm;
use crate::judge::InPlaceJudge;
use crate::observer::SessionObserver;
use crate::session::{LastStop, Session, SessionEnd, SessionPlan};
use crate::verdict::{CaseFacts, Override, verdict_of};
use memtwin_kvm::LogStorage;
use memtwin_mapping::host_page_size;
use memtwin_pages::Layout;
use memtwin_process::ProcessGuest;
use memtwin_replicate::{
    CancelToken, GuestControl, ReadMemory, Round, RoundError, RoundPlan, Source, Until,
};
use memtwin_report::{Case, CaseBuilder, Recorder};
use memtwin_stressor::Stressor;
use memtwin_twin::{Injector, MemoryTwin};
use memtwin_vmm::{Backing, KvmGuest};
use std::fs::File;

/// The window's size in bytes.
const DEFAULT_BYTES: u64 = 1 << 20;
/// How many rounds a case runs, unless told.
pub(super) const DEFAULT_ROUNDS: u32 = 100;
/// After how many rounds the judge looks, so that a loss which a later write covers is seen.
const STILL_EVERY: u32 = 20;
/// How many pages a control withholds.
const INJECTED: u64 = 3;

/// What all cases of a run share.
#[derive(Debug)]
pub(crate) struct CheckRun<'r> {
    /// What was asked for.
    pub(crate) config: &'r CheckConfig,
    /// Where the random choices begin.
    pub(crate) seed: u64,
    /// The file behind shm windows, if there is one.
    pub(crate) memory: Option<File>,
    /// Why no ring of this host can earn a pass, if so.
    pub(crate) ring_broken: Option<String>,
    /// Set when a signal came.
    pub(crate) stop: &'r CancelToken,
}

/// A guest that could not be made.
enum NoGuest {
    /// This host can't, or not now.
    Skip(String),
    /// It should have worked.
    Failed(String),
}

impl CheckRun<'_> {
    /// Runs a case. `None` if a signal came before there was anything to say.
    pub(crate) fn case(&self, spec: CaseSpec, observer: &mut dyn SessionObserver) -> Option<Case> {
        let bytes = self.bytes(spec);
        match spec.log {
            CheckedLog::Kvm(_) => self.with(spec, self.kvm_guest(spec, bytes), observer),
            CheckedLog::Process => self.with(spec, self.process_guest(spec, bytes), observer),
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
        let CheckedLog::Kvm(mode) = spec.log else {
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

    fn with<G: Source + GuestControl + ReadMemory>(
        &self,
        spec: CaseSpec,
        guest: Result<G, NoGuest>,
        observer: &mut dyn SessionObserver,
    ) -> Option<Case> {
        let (name, source) = (spec.to_string(), spec.log.source_name());
        match guest {
            Err(NoGuest::Skip(reason)) => Some(Case::skipped(name, source, reason)),
            Err(NoGuest::Failed(reason)) => {
                let facts = CaseFacts { broken: Some(reason), ..CaseFacts::default() };
                Some(verdict_of(CaseBuilder::new(name, source, &Layout::default()), facts))
            }
            Ok(guest) if spec.control => {
                self.judge(spec, Injector::new(guest, INJECTED, self.seed), observer)
            }
            Ok(guest) => self.judge(spec, guest, observer),
        }
    }

    /// Replicates, compares, and says what came of it.
    fn judge<G: Source + GuestControl + ReadMemory>(
        &self,
        spec: CaseSpec,
        guest: G,
        observer: &mut dyn SessionObserver,
    ) -> Option<Case> {
        let mut recorder = Recorder::default();
        let mut judge = InPlaceJudge::new(spec.control);
        let trial = CaseBuilder::new(spec.to_string(), spec.log.source_name(), guest.layout());
        let is_once = spec.stressor == Stressor::Once;
        let pages = guest.layout().pages();
        let session = Session {
            source: guest,
            sink: MemoryTwin::new(),
            observer: (&mut recorder, observer),
            plan: self.plan(spec),
            // Of `once` each page is written once, so after pre-copy, and spread over the rounds: then only
            // the log can bring it to the twin.
            guest: OwnGuest {
                pace: is_once.then(|| self.once_pace(pages)),
                after_precopy: is_once,
            },
            judge: &mut judge,
            stop: self.stop,
        };
        let end = session.run().unwrap_or_else(SessionEnd::Broken);
        if matches!(end, SessionEnd::Broken(RoundError::Interrupted)) {
            return None;
        }
        let written = judge.written();
        let facts = judge.facts(&end);
        let overrides = self.overrides(spec, &facts, written, recorder.rounds());
        let trial = match spec.log {
            CheckedLog::Kvm(_) => trial.hypervisor(own_vmm()),
            CheckedLog::Process => trial,
        };
        let trial = trial.recorded(&recorder);
        Some(verdict_of(trial, CaseFacts { overrides, ..facts }))
    }

    /// What makes an identical twin no proof.
    fn overrides(
        &self,
        spec: CaseSpec,
        facts: &CaseFacts,
        written: u64,
        rounds: &[Round],
    ) -> Vec<Override> {
        let suppressed = facts.injected.as_ref().is_none_or(|pages| !pages.is_empty());
        let logged = rounds.iter().any(|round| round.dirty_pages > 0);
        // With a control the pages withheld may have been all there were.
        let logged = logged || !facts.lost.is_empty() || spec.control;
        let none = "the guest wrote, the log named no page, and none differs";
        let overflows = match spec.log.storage() {
            LogStorage::Rings => self.ring_broken.clone(),
            LogStorage::Bitmap => None,
        };
        let overrides = [
            (!suppressed).then_some(Override::NothingSuppressed),
            (written == 0).then_some(Override::NothingWritten),
            (!logged).then(|| Override::NothingLogged(none.to_owned())),
            overflows.map(Override::Overflows),
        ];
        overrides.into_iter().flatten().collect()
    }

    fn plan(&self, spec: CaseSpec) -> SessionPlan<'static> {
        let config = self.config;
        let told = config.rounds.is_some() || config.time.is_some();
        // `once` ends by itself, when every page is written.
        let by_itself = spec.stressor == Stressor::Once && !told;
        let default = if told || by_itself { None } else { Some(DEFAULT_ROUNDS) };
        SessionPlan {
            rounds: RoundPlan {
                interval: config.interval,
                until: Until::Told,
                rounds: config.rounds.or(default),
                time: config.time,
                still_every: Some(STILL_EVERY),
            },
            guest_time: None,
            controller: None,
            last_stop: LastStop::WritersEnded,
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
