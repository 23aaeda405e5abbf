//! What is checked where, known before anything is booted.

use crate::config::CheckExperimentConfig;
use crate::page_sizes::pages_of;
use crate::remote_words;
use memtwin_kvm::Mode;
use memtwin_lab::cross::MEMTWIN;
use memtwin_lab::host::Host;
use memtwin_lab::{Flavour, provision, running_lab};
use memtwin_report::Failure;
use memtwin_session::{CheckConfig, HelperCommand, check_case_names};
use memtwin_vmm::Granule;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What is checked where.
#[derive(Debug)]
pub(super) struct ExperimentPlan {
    pub(super) machines: Vec<CheckMachine>,
    /// What an aarch64 machine is given, a check each.
    pub(super) parts: Vec<CheckPart>,
    /// What any other is given.
    pub(super) other_parts: Vec<CheckPart>,
    /// Memtwin for the machines, if it was built before.
    pub(super) program: Option<PathBuf>,
}

/// Where a check runs.
#[derive(Debug)]
pub(super) enum CheckMachine {
    /// On an emulated board with this kernel.
    Board(Flavour),
    /// On a machine that is there.
    Host(Arc<dyn Host>),
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckPart {
    /// What is typed behind `memtwin check` there.
    pub arguments: Vec<String>,
    /// The cases that it will have to say something about.
    pub names: Vec<String>,
}

/// The kernels of boards.
const KERNELS: [Flavour; 3] = [Flavour::Standard, Flavour::Pages16K, Flavour::Pages64K];

impl ExperimentPlan {
    /// What was asked for.
    ///
    /// Errors: a host that is none; a folder of programs without Memtwin.
    pub(super) fn of(config: &CheckExperimentConfig) -> Result<Self, Failure> {
        let mut machines = Vec::new();
        for name in &config.hosts {
            if name == "emulated" {
                let kernels = match (&config.kernels[..], config.all) {
                    ([], true) => &KERNELS[..],
                    ([], false) => &KERNELS[..1],
                    (given, _) => given,
                };
                machines.extend(kernels.iter().copied().map(CheckMachine::Board));
            } else {
                let host = running_lab::named_host(name, config.state.as_deref());
                let host = host.map_err(|error| match error.is_usage() {
                    true => Failure::usage(format!("--hosts: emulated, or {error}")),
                    false => Failure::environment(error),
                })?;
                machines.push(CheckMachine::Host(Arc::from(host)));
            }
        }
        let (parts, other_parts) = match &config.part {
            None => {
                let parts = Granule::ALL.map(|granule| CheckPart::granule(granule, config.all));
                (parts.into(), vec![CheckPart::plain(config.all)])
            }
            Some(part) => (vec![part.clone()], vec![part.clone()]),
        };
        let folder = config.board_programs.as_deref();
        let program = folder.map(|folder| provision::program_in(folder, MEMTWIN)).transpose();
        let program = program.map_err(Failure::environment)?;
        Ok(Self { machines, parts, other_parts, program })
    }

    /// Whether there is a board to boot.
    pub(super) fn has_boards(&self) -> bool {
        self.machines.iter().any(|machine| matches!(machine, CheckMachine::Board(_)))
    }
}

impl CheckMachine {
    /// What its cases' names say of it as long as nothing else is known.
    pub(super) fn label(&self) -> String {
        match self {
            Self::Board(kernel) => pages_of(*kernel).to_owned(),
            Self::Host(host) => label_of("?", host.name()),
        }
    }
}

/// The label of a machine with pages of a size.
pub(super) fn label_of(pages: &str, host: &str) -> String {
    // A slash parts the words of a name.
    let host = host.strip_prefix("ssh://").unwrap_or(host).replace('/', "_");
    format!("{pages},{host}")
}

/// The sizes of addresses that are checked with a granule.
fn va_bits(granule: Granule, all: bool) -> &'static [u8] {
    match (all, granule) {
        (false, _) => &[48],
        (true, Granule::K4) => &[39, 48, 52],
        (true, Granule::K16) => &[47, 48, 52],
        (true, Granule::K64) => &[42, 48, 52],
    }
}

/// A check of everything, as long as nothing is chosen.
fn all_cases() -> CheckConfig {
    CheckConfig {
        source: None,
        modes: Vec::new(),
        backings: Vec::new(),
        vcpus: Vec::new(),
        stressors: Vec::new(),
        granules: Vec::new(),
        va_bits: Vec::new(),
        all: false,
        size: None,
        rounds: Some(remote_words::CHECK_ROUNDS),
        time: None,
        interval: Duration::from_millis(4),
        seed: None,
        ring_entries: 1024,
        memory: None,
        // It runs elsewhere, and is asked for its cases' names alone.
        writer: HelperCommand::new("memtwin", ["process-writer"]),
    }
}

impl CheckPart {
    /// Arguments as a person gave them, and what they come to there.
    pub fn new(arguments: Vec<String>, config: &CheckConfig) -> Self {
        Self { arguments, names: check_case_names(config) }
    }

    /// The part of an aarch64 machine's granule.
    fn granule(granule: Granule, all: bool) -> Self {
        let va_bits = va_bits(granule, all);
        let words = remote_words::granule_check(granule, &Mode::ALL, va_bits);
        let (modes, granules, va_bits) = (Mode::ALL.to_vec(), vec![granule], va_bits.to_vec());
        Self::new(words, &CheckConfig { modes, granules, va_bits, ..all_cases() })
    }

    /// The part of a machine that has page tables of its own.
    fn plain(all: bool) -> Self {
        Self::new(remote_words::plain_check(all), &CheckConfig { all, ..all_cases() })
    }
}
