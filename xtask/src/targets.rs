//! `cargo xtask targets`: audits a board of every target whose QEMU is installed, and prints the table of
//! them. docs/qemu-targets.md keeps the last one, written by `--update`.

use crate::interrupt::Interrupt;
use crate::packages::{self, Rights};
use crate::programs;
use crate::run::{ProgramEnd, run};
use crate::workspace::{built, root};
use anyhow::{Context, bail};
use clap::Args;
use memtwin_bare::ReleaseVersion;
use memtwin_targets::{AuditCaller, BOARDS, BoardResult, TargetBoard, markdown};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Debian's packages of every `qemu-system-*`.
const PACKAGES: [&str; 8] = [
    "qemu-system-arm",
    "qemu-system-mips",
    "qemu-system-misc",
    "qemu-system-ppc",
    "qemu-system-riscv",
    "qemu-system-s390x",
    "qemu-system-sparc",
    "qemu-system-x86",
];

/// The page that keeps the last table, and what it stands between.
const PAGE: &str = "docs/qemu-targets.md";
const BEGIN: &str = "<!-- cargo xtask targets --update -->\n";
const END: &str = "<!-- end of the table -->\n";

/// Which boards, and what becomes of the table.
#[derive(Args)]
pub(crate) struct Targets {
    /// These targets alone [default: every one that is installed]
    targets: Vec<String>,
    /// Write the table into docs/qemu-targets.md; of all targets
    #[arg(long, conflicts_with = "targets")]
    update: bool,
}

impl Targets {
    /// Audits the boards, one after the other. Whether each came to what is expected of it.
    ///
    /// Errors: a target is not known, or nothing can be built.
    pub(crate) fn run(&self, interrupt: &Interrupt) -> anyhow::Result<bool> {
        if let Some(unknown) =
            self.targets.iter().find(|it| !BOARDS.iter().any(|b| b.target == **it))
        {
            bail!(
                "no board of target '{unknown}' is known; there are {}",
                known_targets().join(", ")
            );
        }
        install(interrupt);
        let memtwin = built("memtwin", interrupt)?;
        let mut caller = Caller { interrupt };
        let (mut results, mut passed, mut versions) = (Vec::new(), true, BTreeSet::new());
        for board in BOARDS.iter().filter(|board| self.chosen(board)) {
            if interrupt.is_set() {
                return Ok(false);
            }
            let program = board.program();
            if !programs::is_there(&program) {
                println!(
                    "{:<15} {:<27} left out: {program} is not installed",
                    board.target, board.machine
                );
                passed &= self.targets.is_empty() && !self.update;
                continue;
            }
            versions.insert(ReleaseVersion::of(Path::new(&program))?.to_string());
            match board.audited(&memtwin, &mut caller) {
                Ok(result) => {
                    println!("{result}");
                    passed &= result.as_expected();
                    results.push(result);
                }
                Err(error) => {
                    println!("{:<15} {:<27} {error}", board.target, board.machine);
                    passed = false;
                }
            }
        }
        for target in unlisted(&installed()) {
            println!(
                "qemu-system-{target}: no board of it is in the table (dev/targets/src/boards.rs)"
            );
            passed = false;
        }
        if self.update && passed {
            update(&results, &versions)?;
        } else if !self.update {
            println!("\n{}", markdown(&results));
        }
        Ok(passed)
    }

    fn chosen(&self, board: &TargetBoard) -> bool {
        self.targets.is_empty() || self.targets.iter().any(|target| target == board.target)
    }
}

/// Installs the packages of which a program is missing; says so if that is not possible.
fn install(interrupt: &Interrupt) {
    let missing = BOARDS.iter().filter(|board| !programs::is_there(&board.program())).count();
    let rights = Rights::ours();
    if missing > 0
        && rights != Rights::None
        && packages::has_apt()
        && let Err(error) = programs::install_new(&PACKAGES, rights, interrupt)
    {
        eprintln!("{error:#}");
    }
}

fn known_targets() -> Vec<&'static str> {
    let targets: BTreeSet<_> = BOARDS.iter().map(|board| board.target).collect();
    targets.into_iter().collect()
}

/// The targets of all `qemu-system-*` that a shell would find, a program with several names once.
fn installed() -> BTreeSet<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let entries = std::env::split_paths(&path).filter_map(|folder| fs::read_dir(folder).ok());
    let programs = entries
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"qemu-system-"));
    let target = |path: &Path| {
        let real = fs::canonicalize(path).ok()?;
        real.file_name()?.to_str()?.strip_prefix("qemu-system-").map(str::to_owned)
    };
    programs.filter_map(|entry| target(&entry.path())).collect()
}

fn unlisted(installed: &BTreeSet<String>) -> Vec<&String> {
    let known = known_targets();
    installed.iter().filter(|target| !known.contains(&target.as_str())).collect()
}

/// Puts the table into its page.
fn update(results: &[BoardResult], versions: &BTreeSet<String>) -> anyhow::Result<()> {
    let path = root().join(PAGE);
    let page = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
    let table = format!(
        "QEMU {}, under TCG (x86_64-microvm: KVM):\n\n{}",
        versions.join(" and "),
        markdown(results)
    );
    let page =
        replaced(&page, &table).with_context(|| format!("{PAGE} has no place for it: {BEGIN}"))?;
    fs::write(&path, page).with_context(|| path.display().to_string())
}

/// The page with another table in its place.
fn replaced(page: &str, table: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{table}{END}{after}"))
}

/// A developer at a terminal.
struct Caller<'i> {
    interrupt: &'i Interrupt,
}

impl AuditCaller for Caller<'_> {
    fn complete(&mut self, command: &mut Command, limit: Duration) -> Result<(), String> {
        match run(command, limit, self.interrupt) {
            Ok(ProgramEnd::By(_)) => Ok(()),
            Ok(other) => Err(other.to_string()),
            Err(error) => Err(format!("{error:#}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qemu_of_which_no_board_is_known_is_named() {
        let installed = ["x86_64", "of-tomorrow"].map(str::to_owned).into();
        assert_eq!(unlisted(&installed), ["of-tomorrow"]);
    }

    #[test]
    fn the_table_is_replaced_in_its_page() {
        let page = format!("before\n{BEGIN}old\n{END}after\n");
        assert_eq!(replaced(&page, "new\n").unwrap(), format!("before\n{BEGIN}new\n{END}after\n"));
        assert_eq!(replaced("before\n", "new\n"), None);
        let ours = fs::read_to_string(root().join(PAGE)).unwrap();
        assert!(replaced(&ours, "").is_some(), "{PAGE}");
    }
}
