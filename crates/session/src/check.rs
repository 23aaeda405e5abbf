//! A check: does this host's dirty log ever miss a write?

mod case;
mod select;

use crate::helper::HelperCommand;
use crate::memory_file::MemoryFile;
use crate::observer::SessionObserver;
use case::{CheckRun, DEFAULT_ROUNDS};
use memtwin_kvm::{LogCapabilities, Mode};
use memtwin_replicate::CancelToken;
use memtwin_report::record::ResolvedOptions;
use memtwin_report::{Case, Failure};
use memtwin_stressor::Stressor;
use memtwin_vmm::{Backing, Granule, GuestStartError, Translation};
use select::{CaseSelection, CaseSpec, CheckedLog};
use std::path::PathBuf;
use std::time::Duration;

/// The modes that hypervisors use unless told otherwise.
const DEFAULT_MODES: [Mode; 2] = [Mode::Get, Mode::Clear];

/// Whose dirty log is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckSource {
    /// KVM's, of the embedded guest.
    Kvm,
    /// The kernel's, of a plain process.
    Process,
}

/// What to check. An empty list is: whatever shows most.
#[derive(Clone, Debug)]
pub struct CheckConfig {
    /// Whose dirty log; `None`: KVM's, or the kernel's where there is no KVM.
    pub source: Option<CheckSource>,
    /// How KVM's is read; none: get and clear, or all with `all`.
    pub modes: Vec<Mode>,
    /// What the window's memory is.
    pub backings: Vec<Backing>,
    /// How many vCPUs (or threads) write.
    pub vcpus: Vec<u16>,
    /// How pages get dirty.
    pub stressors: Vec<Stressor>,
    /// The page sizes of the embedded guest's own page tables.
    pub granules: Vec<Granule>,
    /// How many bits its virtual addresses have.
    pub va_bits: Vec<u8>,
    /// The full product, each case with its control.
    pub all: bool,
    /// The window's size in bytes; `None`: 1 MiB, or two huge pages.
    pub size: Option<u64>,
    /// How many rounds a case runs; `None`: 100, unless there is a time.
    pub rounds: Option<u32>,
    /// How long a case runs.
    pub time: Option<Duration>,
    /// How long to sleep between rounds.
    pub interval: Duration,
    /// Where the random choices begin; `None`: somewhere new.
    pub seed: Option<u64>,
    /// How many entries each vCPU's dirty ring has: a power of two.
    pub ring_entries: u32,
    /// The file behind the window of shm cases; `None`: one without a name.
    pub memory: Option<PathBuf>,
    /// How the process source's writer is started.
    pub writer: HelperCommand,
}

/// The names of the cases that a host with KVM would run.
pub fn check_case_names(config: &CheckConfig) -> Vec<String> {
    let wanted = config.wanted();
    let names = |log| wanted.cases(log).into_iter().map(|case| case.to_string());
    if config.source == Some(CheckSource::Process) {
        return names(CheckedLog::Process).collect();
    }
    config.modes().into_iter().flat_map(|mode| names(CheckedLog::Kvm(mode))).collect()
}

impl CheckConfig {
    fn wanted(&self) -> CaseSelection {
        CaseSelection {
            backings: self.backings.clone(),
            vcpus: self.vcpus.clone(),
            stressors: self.stressors.clone(),
            translations: self.translations(),
            all: self.all,
        }
    }

    /// What counts of what was not typed, by the options' names.
    pub fn resolved(&self) -> ResolvedOptions {
        let mut resolved = ResolvedOptions::new();
        if let Some(seed) = self.seed {
            resolved.insert("seed".to_owned(), seed.into());
        }
        if self.source != Some(CheckSource::Process) {
            let modes: Vec<&str> = self.modes().iter().map(|mode| mode.name()).collect();
            resolved.insert("mode".to_owned(), modes.into());
        }
        if self.rounds.is_none() && self.time.is_none() {
            resolved.insert("rounds".to_owned(), DEFAULT_ROUNDS.into());
        }
        resolved
    }

    fn modes(&self) -> Vec<Mode> {
        match (self.modes.is_empty(), self.all) {
            (false, _) => self.modes.clone(),
            (true, true) => Mode::ALL.to_vec(),
            (true, false) => DEFAULT_MODES.to_vec(),
        }
    }

    /// Whether something is asked for that only the embedded guest has.
    fn is_of_guest(&self) -> bool {
        !self.granules.is_empty() || !self.va_bits.is_empty()
    }

    /// The product of the granules and address sizes that are asked for; none if neither is. What does
    /// not exist is skipped with the reason.
    fn translations(&self) -> Vec<Translation> {
        if !self.is_of_guest() {
            return Vec::new();
        }
        let mut granules = self.granules.clone();
        let mut sizes = self.va_bits.clone();
        if granules.is_empty() {
            granules.push(Granule::K4);
        }
        if sizes.is_empty() {
            sizes.push(48);
        }
        let with = |granule| sizes.iter().map(move |&va_bits| Translation { granule, va_bits });
        granules.into_iter().flat_map(with).collect()
    }
}

/// What there is to run on this host, and what can't be.
#[derive(Debug)]
pub struct CheckPlan<'c> {
    config: &'c CheckConfig,
    cases: Vec<CaseSpec>,
    skipped: Vec<Case>,
    notes: Vec<String>,
}

/// What a check came to.
#[derive(Debug)]
pub struct Checked {
    /// The cases that ran, in order, and then those that were skipped.
    pub cases: Vec<Case>,
    /// What there is to say beside them, for the record.
    pub notes: Vec<String>,
}

impl<'c> CheckPlan<'c> {
    /// Looks at what this host offers.
    ///
    /// Errors: it does not offer what was asked for by name.
    pub fn new(config: &'c CheckConfig) -> Result<Self, Failure> {
        let wanted = config.wanted();
        if config.source == Some(CheckSource::Process) {
            memtwin_process::probe().map_err(Failure::environment)?;
            let cases = wanted.cases(CheckedLog::Process);
            return Ok(Self { config, cases, skipped: Vec::new(), notes: Vec::new() });
        }
        let modes = config.modes();
        let of_modes = |modes: &[Mode]| -> Vec<CaseSpec> {
            modes.iter().flat_map(|&mode| wanted.cases(CheckedLog::Kvm(mode))).collect()
        };
        match memtwin_vmm::probe() {
            Ok(offered) => {
                let notes = not_run(&modes, offered);
                Ok(Self { config, cases: of_modes(&modes), skipped: Vec::new(), notes })
            }
            // KVM was not asked for by name, so what there is instead is run, and that is said.
            Err(error @ GuestStartError::NoKvm { .. })
                if config.modes.is_empty() && config.source.is_none() && !config.is_of_guest() =>
            {
                let skip = |spec: CaseSpec| Case::skipped(spec.to_string(), "kvm", &error);
                let mut skipped: Vec<Case> = of_modes(&modes).into_iter().map(skip).collect();
                let mut cases = wanted.cases(CheckedLog::Process);
                if let Err(error) = memtwin_process::probe() {
                    let skip = |spec: CaseSpec| Case::skipped(spec.to_string(), "process", &error);
                    skipped.extend(cases.drain(..).map(skip));
                }
                // The report itself says, in its last line, that KVM was not tested.
                Ok(Self { config, cases, skipped, notes: Vec::new() })
            }
            Err(error) => Err(Failure::environment(error)),
        }
    }

    /// The names of the cases that will run.
    pub fn names(&self) -> impl ExactSizeIterator<Item = String> {
        self.cases.iter().map(ToString::to_string)
    }

    /// The cases that can't run here.
    pub fn skipped(&self) -> &[Case] {
        &self.skipped
    }

    /// Runs the cases, one after another, until a stop is asked for.
    ///
    /// Errors: there is no room for a window, or its file can't be made.
    pub fn run(
        &self,
        stop: &CancelToken,
        observer: &mut dyn SessionObserver,
    ) -> Result<Checked, Failure> {
        let config = self.config;
        if let Some(size) = config.size {
            crate::room::for_window(config.memory.as_deref(), size, self.windows())
                .map_err(Failure::environment)?;
        }
        let seed = config.seed.unwrap_or_else(crate::seed::fresh);
        let bytes = config.size.unwrap_or(1 << 20);
        let memory = config.memory.as_deref().map(|path| MemoryFile::create(path, bytes));
        let memory = memory.transpose().map_err(Failure::environment)?;
        let file =
            memory.as_ref().map(MemoryFile::file).transpose().map_err(Failure::environment)?;
        let ring_broken = self.ring_broken();
        let run = CheckRun { config, seed, memory: file, ring_broken, stop };
        let mut cases: Vec<Case> = Vec::new();
        for &spec in &self.cases {
            if stop.is_set() {
                break;
            }
            observer.case_started(&spec.to_string());
            let Some(case) = run.case(spec, observer) else { break };
            observer.case_finished(&case);
            cases.push(case);
        }
        cases.extend(self.skipped.iter().cloned());
        let notes = self.notes(&cases, seed, stop);
        Ok(Checked { cases, notes })
    }

    /// Tries the ring before it is judged, if it is to be judged.
    fn ring_broken(&self) -> Option<String> {
        if !self.cases.iter().any(|case| case.log.storage().can_overflow()) {
            return None;
        }
        match memtwin_vmm::probe_ring(self.config.ring_entries) {
            // A guest that can't be made says so in each case.
            Err(_) | Ok(Ok(())) => None,
            Ok(Err(reason)) => Some(format!(
                "this host's dirty ring does not hold, so no twin fed by it can earn a pass: {reason}"
            )),
        }
    }

    /// How many windows there are in memory at a time: cases run one after another, each with a twin.
    fn windows(&self) -> u64 {
        let file = self.config.memory.as_deref();
        // The file is there all the time; huge pages have a pool of their own.
        let own = |case: &CaseSpec| match case.backing {
            Backing::Shm => file.is_none(),
            Backing::Anon | Backing::Thp => true,
            Backing::Hugetlb => false,
        };
        1 + u64::from(file.is_some_and(memtwin_room::is_memory))
            + u64::from(self.cases.iter().any(own))
    }

    /// What stands beside the cases.
    fn notes(&self, cases: &[Case], seed: u64, stop: &CancelToken) -> Vec<String> {
        let mut notes = Vec::new();
        if cases.iter().any(|case| !case.passed() && !case.rounds().is_empty()) {
            notes.push(format!("to repeat: --seed {seed}"));
        }
        if stop.is_set() {
            notes.push("interrupted: the cases after the last one above did not run".to_owned());
        }
        notes.extend(self.notes.iter().cloned());
        notes
    }
}

/// Which modes the host offers that are not run.
fn not_run(modes: &[Mode], offered: LogCapabilities) -> Vec<String> {
    let left: Vec<_> = Mode::ALL
        .into_iter()
        .filter(|&mode| {
            !modes.iter().any(|run| run.name() == mode.name()) && offered.has(mode).is_ok()
        })
        .map(|mode| mode.name())
        .collect();
    match left.as_slice() {
        [] => Vec::new(),
        left => vec![format!("offered by this host and not run: --mode {}", left.join(","))],
    }
}
