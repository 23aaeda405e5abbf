//! `cargo xtask repro`: starts the guest of a scenario, audits it, and says whether exactly those
//! pages were lost that this version of QEMU is known to lose. The commands are printed, for a QEMU
//! developer to repeat by hand. On several versions it prints a table instead.

mod cell;
mod matrix;
mod terminal;
mod tested_qemu;

use crate::interrupt::Interrupt;
use crate::steps::shown;
use crate::workspace::built;
use anyhow::{Context, bail};
use cell::Cell;
use clap::Args;
use matrix::Matrix;
use memtwin_bare::{BareMachine, Expected, Scenario};
use memtwin_lab::qemu_release::QemuRelease;
use memtwin_repro::{MoveRun, ReproRun};
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
pub(crate) use terminal::Terminal;
use tested_qemu::TestedQemu;

/// What to reproduce.
#[derive(Args)]
pub(crate) struct Repro {
    /// The scenarios [default: list them; on several versions: all]
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<Scenario>,
    /// How long the audit follows the guest
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// The QEMU to run instead of the installed one
    #[arg(long, value_name = "PROGRAM")]
    qemu: Option<PathBuf>,
    /// On this version of QEMU, fetched if it is not in the cache, with its newest and its oldest machine
    /// type; can be repeated
    #[arg(long, value_name = "VERSION", conflicts_with_all = ["qemu", "prepare", "json"])]
    qemu_version: Vec<QemuRelease>,
    /// On every such version, and on the installed one
    #[arg(long, conflicts_with_all = ["qemu_version", "qemu", "prepare", "json"])]
    all_versions: bool,
    /// Migrate the guest to another QEMU of the same version instead of auditing it, and compare the
    /// memory of both
    #[arg(long, conflicts_with_all = ["prepare", "json"])]
    migrate: bool,
    /// Only write the guest's files into this folder and print the command that starts it
    #[arg(long, value_name = "FOLDER", requires = "scenarios")]
    prepare: Option<PathBuf>,
    /// How the guest is judged: paused, or running
    #[arg(long, default_value = "paused", value_parser = ["paused", "running"], conflicts_with_all = ["prepare", "migrate", "qemu_version", "all_versions"])]
    judge: String,
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
        if self.all_versions || !self.qemu_version.is_empty() {
            let qemus = TestedQemu::all(&self.qemu_version, self.all_versions, interrupt)?;
            let all = &Scenario::ALL[..];
            let scenarios = if self.scenarios.is_empty() { all } else { &self.scenarios };
            let time = Duration::from_secs(self.seconds);
            let memtwin = if self.migrate { None } else { Some(built("memtwin", interrupt)?) };
            let arguments = &self.arguments;
            let matrix = Matrix { scenarios, qemus, memtwin, time, arguments, interrupt };
            return matrix.run();
        }
        let [scenario] = self.scenarios[..] else {
            if self.scenarios.is_empty() {
                list();
                return Ok(true);
            }
            bail!("one scenario at a time; several with --qemu-version VERSION or --all-versions");
        };
        let mut machine = scenario.machine();
        if let Some(qemu) = &self.qemu {
            machine.program.clone_from(qemu);
        }
        if let Some(folder) = &self.prepare {
            return self.prepare(&machine, folder);
        }
        println!("{scenario}: {}", scenario.summary());
        if let Some(reference) = scenario.reference() {
            println!("reason:   {reference}");
        }
        let version = machine.version()?;
        let known = scenario.expected(version, &machine.machine);
        let run = if self.migrate { Self::moved } else { Self::audited };
        let cell = run(self, machine, known.as_ref(), interrupt)?;
        match known {
            None => println!("{scenario}: {cell}; nobody has run it on QEMU {version} yet"),
            Some(expected) => {
                let word = if cell.is_failure() { "NOT as expected" } else { "as expected" };
                println!("{scenario}: {cell}; {word} of QEMU {version} ({expected})");
            }
        }
        Ok(!cell.is_failure())
    }

    /// Audits it.
    fn audited(
        &self,
        machine: BareMachine,
        known: Option<&Expected>,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Cell> {
        let memtwin = built("memtwin", interrupt)?;
        let folder = tempfile::tempdir().context("can't make a temporary folder")?;
        let run = ReproRun {
            machine,
            expected: known.cloned().unwrap_or(Expected::Identical),
            memtwin: &memtwin,
            time: Duration::from_secs(self.seconds),
            arguments: &self.arguments,
            audit: &["--judge", self.judge.as_str()],
            record: &self.json.clone().unwrap_or_else(|| folder.path().join("record.json")),
        };
        Ok(Cell::audited(run.run(&mut Terminal { interrupt, quiet: false }), known))
    }

    /// Migrates it.
    fn moved(
        &self,
        machine: BareMachine,
        known: Option<&Expected>,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Cell> {
        let run = MoveRun { machine, arguments: &self.arguments };
        Ok(Cell::moved(run.run(&mut Terminal { interrupt, quiet: false }), known))
    }

    /// Writes the guest's files and prints the command that starts it.
    fn prepare(&self, machine: &BareMachine, folder: &Path) -> anyhow::Result<bool> {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let qmp = folder.join("qmp.sock");
        let mut qemu = machine.command(&qmp, folder)?;
        qemu.args(&self.arguments);
        println!("{}\naudit: memtwin audit {}", shown(&qemu), qmp.display());
        Ok(true)
    }
}

fn list() {
    let mut lines = String::new();
    for scenario in Scenario::ALL {
        let known = match scenario.machine().version() {
            Err(error) => error.to_string(),
            Ok(version) => match scenario.expected(version, "") {
                Some(expected) => format!("QEMU {version}: {expected}"),
                None => format!("QEMU {version}: nobody has run it yet"),
            },
        };
        lines += &format!("{scenario:<22} {}\n{:<22} {known}\n", scenario.summary(), "");
    }
    // Someone who reads but the first lines is no error.
    let _ = io::stdout().write_all(lines.as_bytes());
}
