//! `cargo xtask repro`: starts the guest of a scenario, audits it, and says whether the outcome is the
//! one that this version of QEMU is known for. The commands are printed, for a QEMU developer to
//! repeat by hand.

use crate::interrupt::Interrupt;
use crate::run::{Ended, run};
use crate::steps::shown;
use crate::workspace::built;
use anyhow::{Context, bail};
use clap::Args;
use memtwin_bare::{Expected, Machine, Scenario};
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What to reproduce.
#[derive(Args)]
pub(crate) struct Repro {
    /// The scenario [default: list them]
    scenario: Option<Scenario>,
    /// How long the audit follows the guest
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// How long the guest runs before the audit: firmware under a slow KVM takes seconds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=600))]
    boot: u64,
    /// The QEMU to run instead of the installed one
    #[arg(long, value_name = "PROGRAM")]
    qemu: Option<PathBuf>,
    /// Only write the guest's files into this folder and print the command that starts it
    #[arg(long, value_name = "FOLDER", requires = "scenario")]
    prepare: Option<PathBuf>,
    /// Passed on to QEMU
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// How long QEMU has to open its QMP socket.
const START: Duration = Duration::from_secs(30);

/// What an audit may take beyond its seconds.
const MARGIN: Duration = Duration::from_secs(120);

/// The exit codes of `memtwin audit` that are a verdict.
const IDENTICAL: i32 = 0;
const LOST: i32 = 1;

impl Repro {
    /// Runs it. Whether the outcome was the expected one, or is not known for this version.
    pub(crate) fn run(&self, interrupt: &Interrupt) -> anyhow::Result<bool> {
        let Some(scenario) = self.scenario else {
            list();
            return Ok(true);
        };
        let mut machine = scenario.machine();
        if let Some(qemu) = &self.qemu {
            machine.program.clone_from(qemu);
        }
        if let Some(folder) = &self.prepare {
            let (qemu, qmp) = self.command(&machine, folder)?;
            println!("{}\naudit: memtwin audit {}", shown(&qemu), qmp.display());
            return Ok(true);
        }
        let version = machine.version()?;
        let expected = scenario.expected(version);
        let memtwin = built("memtwin", interrupt)?;
        let folder = tempfile::tempdir().context("can't make a temporary folder")?;
        let (mut qemu, qmp) = self.command(&machine, folder.path())?;

        println!("{scenario}: {}", scenario.summary());
        if let Some(reference) = scenario.reference() {
            println!("reason:   {reference}");
        }
        println!("$ {}", shown(&qemu));
        let said = folder.path().join("said");
        let log = fs::File::create(&said).context("can't make a file")?;
        let mut guest = Guest::start(qemu.stderr(log))?;
        guest.wait_for(&qmp, interrupt)?;
        interrupt_or_sleep(Duration::from_secs(self.boot), interrupt);
        let mut audit = Command::new(memtwin);
        audit.arg("audit").arg(&qmp).args(["--seconds", &self.seconds.to_string()]);
        println!("$ {}", shown(&audit));
        let ended = run(&mut audit, Duration::from_secs(self.seconds) + MARGIN, interrupt)?;
        let died = guest.ended()?;
        drop(guest);
        if let Some(status) = died {
            let said = fs::read_to_string(&said).unwrap_or_default();
            println!("QEMU is gone ({status}): {}", said.trim_end());
        }
        if ended == Ended::Interrupted {
            return Ok(false);
        }
        let seen = Seen::of(&ended, died)?;
        let Some(expected) = expected else {
            println!("{scenario}: {seen}; nobody has run it on QEMU {version} yet");
            return Ok(true);
        };
        let as_expected = seen.is(&expected);
        let word = if as_expected { "as expected" } else { "NOT as expected" };
        println!("{scenario}: {seen}; {word} of QEMU {version} ({expected})");
        Ok(as_expected)
    }

    /// The command that starts the guest, and its QMP socket. Writes the guest's files.
    fn command(&self, machine: &Machine, folder: &Path) -> anyhow::Result<(Command, PathBuf)> {
        let qmp = folder.join("qmp.sock");
        let mut qemu = machine.command(&qmp, folder)?;
        qemu.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null());
        Ok((qemu, qmp))
    }
}

fn list() {
    let mut lines = String::new();
    for scenario in Scenario::ALL {
        let known = match scenario.machine().version() {
            Err(error) => error.to_string(),
            Ok(version) => match scenario.expected(version) {
                Some(expected) => format!("QEMU {version}: {expected}"),
                None => format!("QEMU {version}: nobody has run it yet"),
            },
        };
        lines += &format!("{scenario:<22} {}\n{:<22} {known}\n", scenario.summary(), "");
    }
    // Someone who reads but the first lines is no error.
    let _ = io::stdout().write_all(lines.as_bytes());
}

/// What came of an audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Identical,
    Lost,
    Died,
}

impl Seen {
    /// Errors: the audit came to no verdict, and QEMU lives.
    fn of(audit: &Ended, died: Option<ExitStatus>) -> anyhow::Result<Self> {
        // A QEMU that died leaves the audit nothing but `inconclusive`.
        if died.is_some() {
            return Ok(Self::Died);
        }
        match audit {
            Ended::By(status) if status.code() == Some(IDENTICAL) => Ok(Self::Identical),
            Ended::By(status) if status.code() == Some(LOST) => Ok(Self::Lost),
            other => bail!("memtwin audit came to no verdict: {other}"),
        }
    }

    fn is(self, expected: &Expected) -> bool {
        matches!(
            (self, expected),
            (Self::Identical, Expected::Identical)
                | (Self::Lost, Expected::Lost(_))
                | (Self::Died, Expected::Aborts { .. })
        )
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Identical => "no lost page",
            Self::Lost => "lost pages",
            Self::Died => "QEMU died",
        })
    }
}

/// A running QEMU, killed when it is dropped.
struct Guest(Child);

impl Guest {
    fn start(qemu: &mut Command) -> anyhow::Result<Self> {
        let child = qemu
            .spawn()
            .with_context(|| format!("can't start {}", qemu.get_program().display()))?;
        Ok(Self(child))
    }

    /// Waits until the QMP socket is there.
    fn wait_for(&mut self, qmp: &Path, interrupt: &Interrupt) -> anyhow::Result<()> {
        let began = Instant::now();
        while !qmp.exists() {
            if let Some(status) = self.ended()? {
                bail!("QEMU ended at its start: {status}");
            }
            if interrupt.is_set() || began.elapsed() > START {
                bail!("no QMP socket after {} s", began.elapsed().as_secs());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.0.try_wait().context("can't wait for QEMU")
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn interrupt_or_sleep(time: Duration, interrupt: &Interrupt) {
    let began = Instant::now();
    while began.elapsed() < time && !interrupt.is_set() {
        thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn exit(code: i32) -> ExitStatus {
        ExitStatus::from_raw(code << 8)
    }

    #[test]
    fn only_a_verdict_is_an_outcome() {
        let seen = |code, died| Seen::of(&Ended::By(exit(code)), died).ok();
        assert_eq!(seen(0, None), Some(Seen::Identical));
        assert_eq!(seen(1, None), Some(Seen::Lost));
        assert_eq!(seen(11, None), None, "inconclusive");
        assert_eq!(seen(2, None), None, "usage");
        assert_eq!(seen(11, Some(exit(0))), Some(Seen::Died));
        assert_eq!(seen(0, Some(exit(0))), Some(Seen::Died), "a dead guest has no verdict");
        assert!(Seen::of(&Ended::TimedOut(MARGIN), None).is_err());
    }

    #[test]
    fn an_outcome_is_held_against_the_expected_one() {
        let aborts = Expected::Aborts { assertion: "" };
        assert!(Seen::Died.is(&aborts));
        assert!(!Seen::Identical.is(&aborts));
        assert!(!Seen::Lost.is(&Expected::Identical));
        assert!(Seen::Identical.is(&Expected::Identical));
    }
}
