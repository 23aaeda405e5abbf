//! The words for how a guest is judged.

use crate::values::Size;
use clap::{Args, ValueEnum};
use memtwin_report::Failure;
use memtwin_session::{AuditJudge, RunningPlan};

/// Who judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum JudgeWord {
    /// The guest is paused, and all of its memory read
    Paused,
    /// Its memory is read while it runs; it is paused only if pages seem to be lost, to read these once more
    Running,
}

/// How a guest is judged.
#[derive(Args, Clone, Debug)]
pub(crate) struct JudgeArgs {
    /// How the guest is judged (docs/judging.md) [default: paused; one of over 4 GiB: running]
    #[arg(long, value_enum, value_name = "HOW")]
    judge: Option<JudgeWord>,
    /// With `--judge running`: how many bytes of memory are read in a second [default: 200M]
    #[arg(long, value_name = "SIZE")]
    read_rate: Option<Size>,
    /// With `--judge running`: read all memory so often at least, however long that takes [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    sweeps: Option<u32>,
    /// With `--judge running`: do not pause the guest at all; what only a pause can tell is inconclusive
    #[arg(long)]
    never_pause: bool,
}

impl JudgeArgs {
    /// What was asked for.
    ///
    /// Errors: what is for a running guest alone, without one.
    pub(crate) fn judge(&self) -> Result<AuditJudge, Failure> {
        if self.judge != Some(JudgeWord::Running) {
            let given = [
                ("--read-rate", self.read_rate.is_some()),
                ("--sweeps", self.sweeps.is_some()),
                ("--never-pause", self.never_pause),
            ];
            return match given.into_iter().find(|(_, given)| *given) {
                Some((option, _)) => {
                    Err(Failure::usage(format!("{option} is for --judge running: add that")))
                }
                None if self.judge == Some(JudgeWord::Paused) => Ok(AuditJudge::Paused),
                None => Ok(AuditJudge::BySize),
            };
        }
        let usual = RunningPlan::default();
        Ok(AuditJudge::Running(RunningPlan {
            read_rate: self.read_rate.map_or(usual.read_rate, |rate| rate.0),
            sweeps: self.sweeps.unwrap_or(usual.sweeps),
            never_pause: self.never_pause,
        }))
    }
}
