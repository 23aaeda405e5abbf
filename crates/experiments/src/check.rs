//! `memtwin check` on emulated ARMv8 boards, each with a KVM/arm64 of its own and a kernel of another page size,
//! or on real machines; merged into one record, with the matrix of page and address sizes (docs/boards.md).

mod machines;
mod plan;
mod results;

pub use plan::CheckPart;

use crate::config::CheckExperimentConfig;
use crate::run_result::ExperimentReport;
use memtwin_lab::{Arch, Progress, provision};
use memtwin_replicate::CancelToken;
use memtwin_report::Failure;
use plan::ExperimentPlan;
use results::CheckResults;

/// The experiment, once it is known what is checked where.
#[derive(Debug)]
pub struct CheckExperiment {
    config: CheckExperimentConfig,
    plan: ExperimentPlan,
}

impl CheckExperiment {
    /// Makes the plan.
    ///
    /// Errors: a host that is none; a folder of programs without Memtwin.
    pub fn new(config: CheckExperimentConfig) -> Result<Self, Failure> {
        let plan = ExperimentPlan::of(&config)?;
        Ok(Self { config, plan })
    }

    /// What the cases' names say of each machine, as long as nothing else is known.
    pub fn labels(&self) -> Vec<String> {
        self.plan.machines.iter().map(plan::CheckMachine::label).collect()
    }

    /// The checks that an aarch64 machine is given.
    pub fn parts(&self) -> &[CheckPart] {
        &self.plan.parts
    }

    /// The checks that any other machine is given.
    pub fn other_parts(&self) -> &[CheckPart] {
        &self.plan.other_parts
    }

    /// The names of the cases, on each machine.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let names = || self.plan.parts.iter().flat_map(|part| &part.names);
        self.plan.machines.iter().flat_map(move |machine| {
            let label = machine.label();
            names().map(move |name| results::host_name(name, &label))
        })
    }

    /// Checks each machine in turn.
    ///
    /// Errors: something is missing here. A machine that dies has cases without a verdict.
    pub fn run(
        &self,
        command: String,
        stop: &CancelToken,
        progress: &mut dyn Progress,
    ) -> Result<ExperimentReport, Failure> {
        if self.plan.has_boards() {
            provision::need_qemu(Arch::Aarch64).map_err(Failure::environment)?;
        }
        let mut folder = crate::run_folder()?;
        let mut results = CheckResults::default();
        machines::check(&self.config, &self.plan, folder.path(), &mut results, progress)?;
        if results.has_consoles && !stop.is_set() {
            folder.disable_cleanup(true);
            let kept = folder.path().display();
            results.merged.note(format!("the boards' consoles are kept in {kept}"));
        }
        if stop.is_set() {
            results.merged.note("interrupted: what is not listed did not run");
        }
        Ok(results.merged.report(command, stop))
    }
}
