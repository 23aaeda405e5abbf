//! `cargo xtask repro`: starts the guest of a scenario, audits it, and says whether exactly those
//! pages were lost that this version of QEMU is known to lose. The commands are printed, for a QEMU
//! developer to repeat by hand.

use crate::interrupt::Interrupt;
use crate::run::{ProgramEnd, run};
use crate::steps::shown;
use crate::workspace::built;
use anyhow::Context;
use clap::Args;
use memtwin_bare::{BareMachine, Expected, Scenario};
use memtwin_repro::{ReproCaller, ReproRun};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What to reproduce.
#[derive(Args)]
pub(crate) struct Repro {
    /// The scenario [default: list them]
    scenario: Option<Scenario>,
    /// How long the audit follows the guest
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// The QEMU to run instead of the installed one
    #[arg(long, value_name = "PROGRAM")]
    qemu: Option<PathBuf>,
    /// Only write the guest's files into this folder and print the command that starts it
    #[arg(long, value_name = "FOLDER", requires = "scenario")]
    prepare: Option<PathBuf>,
    /// Keep the audit's record
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Passed on to QEMU
    #[arg(last = true)]
    arguments: Vec<String>,
}

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
            return self.prepare(&machine, &folder.join("qmp.sock"));
        }
        let version = machine.version()?;
        let known = scenario.expected(version);
        let memtwin = built("memtwin", interrupt)?;
        println!("{scenario}: {}", scenario.summary());
        if let Some(reference) = scenario.reference() {
            println!("reason:   {reference}");
        }
        let folder = tempfile::tempdir().context("can't make a temporary folder")?;
        let run = ReproRun {
            machine,
            expected: known.clone().unwrap_or(Expected::Identical),
            memtwin: &memtwin,
            time: Duration::from_secs(self.seconds),
            arguments: &self.arguments,
            record: &self.json.clone().unwrap_or_else(|| folder.path().join("record.json")),
        };
        let seen = run.run(&mut Terminal { interrupt, quiet: false })?;
        let Some(expected) = known else {
            println!("{scenario}: {}; nobody has run it on QEMU {version} yet", seen.found.what);
            return Ok(true);
        };
        let as_expected = seen.found.as_expected();
        let word = if as_expected { "as expected" } else { "NOT as expected" };
        println!("{scenario}: {}; {word} of QEMU {version} ({expected})", seen.found);
        Ok(as_expected)
    }

    /// Writes the guest's files and prints the command that starts it.
    fn prepare(&self, machine: &BareMachine, qmp: &std::path::Path) -> anyhow::Result<bool> {
        let folder = qmp.parent().unwrap_or(qmp);
        let mut qemu = machine.command(qmp, folder)?;
        qemu.args(&self.arguments);
        println!("{}\naudit: memtwin audit {}", shown(&qemu), qmp.display());
        Ok(true)
    }
}

/// A developer at a terminal.
pub(crate) struct Terminal<'i> {
    pub(crate) interrupt: &'i Interrupt,
    /// Whether commands are kept from them.
    pub(crate) quiet: bool,
}

impl ReproCaller for Terminal<'_> {
    fn announce(&mut self, command: &Command) {
        if !self.quiet {
            println!("$ {}", shown(command));
        }
    }

    fn complete(&mut self, command: &mut Command, limit: Duration) -> Result<(), String> {
        if self.quiet {
            command.stdout(Stdio::null());
        }
        match run(command, limit, self.interrupt) {
            Ok(ProgramEnd::By(_)) => Ok(()),
            Ok(other) => Err(other.to_string()),
            Err(error) => Err(format!("{error:#}")),
        }
    }

    fn go_on(&self) -> bool {
        !self.interrupt.is_set()
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
