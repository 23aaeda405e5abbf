//! What became of a scenario on some QEMU: seen, without a verdict, or not to be had there. A QEMU of
//! another age lacks options and devices; that is no failure, and no pass.

use crate::guest::GuestError;
use crate::run::{RunError, RunEvidence};

/// What became of a scenario on a QEMU.
#[derive(Debug)]
pub enum ScenarioOutcome {
    /// It was audited to a verdict, or its QEMU died of it.
    Seen(RunEvidence),
    /// This QEMU, or this machine, can't have the scenario: why.
    Absent(String),
    /// The audit came to no verdict: why.
    NoVerdict(String),
}

/// What QEMU says of an option that it does not have.
const LACKING: [&str; 9] = [
    "unsupported machine type",
    "not a valid device model name",
    "unable to find CPU model",
    "invalid accelerator",
    "Invalid parameter",
    "invalid option",
    "bus found for device",
    "Could not access KVM kernel module",
    "failed to initialize kvm",
];

impl ScenarioOutcome {
    /// Of a run.
    ///
    /// Errors: it failed in a way that says nothing of this QEMU.
    pub fn of(run: Result<RunEvidence, RunError>) -> Result<Self, RunError> {
        match run {
            Ok(RunEvidence { found, .. }) if found.no_verdict.is_some() => {
                Ok(Self::NoVerdict(found.no_verdict.unwrap_or_default()))
            }
            Ok(seen) => Ok(Self::Seen(seen)),
            Err(RunError::Guest(error)) => match error.absent() {
                Some(reason) => Ok(Self::Absent(reason)),
                None => Err(error.into()),
            },
            Err(RunError::NoRecord { said, .. }) if !said.trim().is_empty() => {
                Ok(Self::NoVerdict(said.trim().to_owned()))
            }
            Err(error) => Err(error),
        }
    }
}

impl GuestError {
    /// Why this QEMU, or this machine, can't have the guest, if that is what the error says.
    pub fn absent(&self) -> Option<String> {
        match self {
            Self::Start(error) => lacking(&error.to_string()),
            Self::Ended { said, .. } => lacking(said),
            Self::Walker { .. } => Some(self.to_string()),
            _ => None,
        }
    }
}

/// The line in which a QEMU that did not start says what it lacks.
fn lacking(said: &str) -> Option<String> {
    let is_lacking = |line: &&str| {
        let property = line.contains("Property ") && line.contains("not found");
        property || LACKING.iter().any(|words| line.contains(words))
    };
    said.lines().find(is_lacking).map(|line| {
        // "PROGRAM: exit status: 1: qemu-system-x86_64: -device x: …": from the option on.
        let said = line.rsplit_once("exit status: 1: ").map_or(line, |(_, said)| said);
        let reason = said.split_once(": ").filter(|(program, _)| !program.contains(' '));
        reason.map_or(said, |(_, reason)| reason).trim().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_qemu_lacks_is_its_age() {
        let reason = |said: &str| lacking(&format!("q: exit status: 1: q: {said}\nmore\n"));
        let lacks = [
            "-accel kvm,dirty-ring-size=4096: Property 'kvm-accel.dirty-ring-size' not found",
            "-device x: 'x' is not a valid device model name",
            "unsupported machine type",
            "unable to find CPU model 'max'",
        ];
        for said in lacks {
            assert_eq!(reason(said).as_deref(), Some(said));
        }
        assert_eq!(reason("-device x: y: No space left on device"), None);
        assert_eq!(reason("cannot set up guest memory 'pc.ram': Cannot allocate memory"), None);
    }

    #[test]
    fn an_audit_that_was_refused_is_no_verdict() {
        let error = std::io::Error::from(std::io::ErrorKind::NotFound);
        let run = |said: &str| {
            let error = std::io::Error::from(error.kind());
            Err(RunError::NoRecord { path: "r".into(), error, said: said.to_owned() })
        };
        let refused = ScenarioOutcome::of(run("memtwin: QEMU 7.2 has no hold\n"));
        assert!(
            matches!(&refused, Ok(ScenarioOutcome::NoVerdict(why)) if why == "memtwin: QEMU 7.2 has no hold"),
            "{refused:?}"
        );
        assert!(ScenarioOutcome::of(run(" ")).is_err(), "it said nothing: a failure");
    }
}
