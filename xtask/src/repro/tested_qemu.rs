//! The QEMUs that scenarios are run on: releases of the lab's cache, and the installed one.

use super::cell::Cell;
use crate::interrupt::Interrupt;
use crate::releases;
use memtwin_bare::{BareImage, BareMachine, ReleaseVersion, Scenario};
use memtwin_lab::Arch;
use memtwin_lab::qemu_release::{QemuRelease, ReleasedQemu};
use memtwin_repro::QemuFacts;
use std::path::Path;

/// A QEMU of one version.
pub(super) struct TestedQemu {
    /// None: the installed one.
    released: Option<ReleasedQemu>,
    /// What heads its column.
    pub(super) heading: String,
}

/// A scenario's machine in one of its types.
pub(super) struct TestedMachine {
    pub(super) machine: BareMachine,
    pub(super) version: ReleaseVersion,
}

impl TestedQemu {
    /// These releases, fetched if need be; or all of them, and the installed QEMU.
    ///
    /// Errors: one can't be fetched, or is another version than it should be.
    pub(super) fn all(
        releases: &[QemuRelease],
        every: bool,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Vec<Self>> {
        let releases = if every { &QemuRelease::ALL } else { releases };
        let mut qemus = Vec::new();
        for &release in releases {
            let released = releases::fetch(release, interrupt)?;
            let facts = QemuFacts::of(&released.program(Arch::X86_64))?;
            qemus.push(Self { released: Some(released), heading: number(&facts) });
        }
        if every {
            let facts = QemuFacts::of(Path::new("qemu-system-x86_64"))?;
            let heading = format!("{} (installed)", number(&facts));
            qemus.push(Self { released: None, heading });
        }
        Ok(qemus)
    }

    /// The scenario's machine on this QEMU, in its newest and its oldest type.
    ///
    /// Errors: what stands in the table instead: this QEMU can't have it, or says nothing of itself.
    pub(super) fn machines(&self, scenario: Scenario) -> Result<Vec<TestedMachine>, Cell> {
        let mut plain = scenario.machine();
        if let Some(released) = &self.released {
            plain.program = match plain.image {
                BareImage::X86 => released.program(Arch::X86_64),
                BareImage::Aarch64 => released.program(Arch::Aarch64),
                BareImage::Riscv64 => {
                    let why = "only the installed QEMU has riscv64".to_owned();
                    return Err(Cell::Absent(why));
                }
            };
        }
        let facts =
            QemuFacts::of(&plain.program).map_err(|error| Cell::Failed(error.to_string()))?;
        let version = ReleaseVersion { major: facts.version.major, minor: facts.version.minor };
        let types = facts.machine_types(&plain.machine).into_iter();
        let machine = |machine: String| TestedMachine {
            machine: BareMachine { machine: machine.into(), ..plain.clone() },
            version,
        };
        Ok(types.map(machine).collect())
    }
}

fn number(facts: &QemuFacts) -> String {
    let version = &facts.version;
    format!("{}.{}.{}", version.major, version.minor, version.micro)
}
