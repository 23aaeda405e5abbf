//! The exit codes: what a script learns from a run. They never change their meaning.

use crate::record::{Case, CaseStanding};

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExitCode {
    /// Everything that ran was verified.
    Verified = 0,
    /// Pages were lost, or a control was not found, or found something else.
    Mismatch = 1,
    /// The command line is wrong. Nothing ran.
    Usage = 2,
    /// Something outside is missing: a device, a permission, a tool, or QEMU names a blocker.
    Environment = 3,
    /// Every case was skipped, or there was none: nothing is known.
    AllSkipped = 4,
    /// The guest wrote faster than the twin could follow.
    NotConverged = 10,
    /// Something died before there was a verdict.
    Inconclusive = 11,
    /// A signal ended the run.
    Interrupted = 130,
}

impl ExitCode {
    /// Every code; where several apply, the first of them here is the one that the process ends
    /// with. Usage comes before anything runs; of the others a loss that was seen counts for more
    /// than what kept us from seeing more, and less than that the run was cut short.
    pub const BY_PRECEDENCE: [Self; 8] = [
        Self::Usage,
        Self::Interrupted,
        Self::Mismatch,
        Self::Inconclusive,
        Self::NotConverged,
        Self::Environment,
        Self::AllSkipped,
        Self::Verified,
    ];

    /// The number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The one of the two that goes first.
    pub fn or(self, other: Self) -> Self {
        Self::BY_PRECEDENCE.into_iter().find(|&code| code == self || code == other).unwrap_or(self)
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.number())
    }
}

/// The code of a run with these cases.
pub fn of_cases(cases: &[Case], not_converged: bool, interrupted: bool) -> ExitCode {
    let judged = cases.iter().filter_map(|case| match case.standing() {
        CaseStanding::Passed => Some(ExitCode::Verified),
        CaseStanding::Failed => Some(ExitCode::Mismatch),
        CaseStanding::Inconclusive => Some(ExitCode::Inconclusive),
        // Says nothing beside a case that ran.
        CaseStanding::Skipped => None,
    });
    let mut code = judged.reduce(ExitCode::or).unwrap_or(ExitCode::AllSkipped);
    if not_converged {
        code = code.or(ExitCode::NotConverged);
    }
    if interrupted {
        code = code.or(ExitCode::Interrupted);
    }
    code
}
