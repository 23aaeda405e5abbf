//! A board of a target: everything that its QEMU's command line says.

use crate::image::GuestImage;
use memtwin_testbed::{Qemu, StartError};
use std::fs;
use tempfile::TempDir;

/// A board of a target, and what an audit of it has to come to.
#[derive(Clone, Copy, Debug)]
pub struct TargetBoard {
    /// QEMU's name of the target: its program is `qemu-system-TARGET`.
    pub target: &'static str,
    /// The machine type.
    pub machine: &'static str,
    /// What else is said, by spaces; `IMAGE` is the file with the guest's code.
    pub(crate) arguments: &'static str,
    /// The guest's code.
    pub(crate) image: GuestImage,
    /// The target's pages, in bytes.
    pub page_bytes: u64,
    /// What its audit comes to.
    pub expected: BoardExpectation,
    /// Whether it is audited with `--force`.
    pub is_forced: bool,
    /// Whether the tests of the workspace run it: one board of each page size, and each refusal.
    pub in_tests: bool,
}

/// What the audit of a board has to come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoardExpectation {
    /// Identical, and the control is found.
    Sound,
    /// Pages are lost, for this reason.
    Loses(&'static str),
    /// It is refused, with these words among others.
    Refused(&'static str),
}

impl TargetBoard {
    /// The name of its QEMU's program.
    pub fn program(&self) -> String {
        format!("qemu-system-{}", self.target)
    }

    /// Whether it runs under KVM alone: Debian's QEMU for microvm has no TCG.
    pub fn needs_kvm(&self) -> bool {
        self.target == "x86_64-microvm"
    }

    /// Starts it, in a directory of its own.
    ///
    /// Errors: QEMU ended, with what it said.
    pub(crate) fn start(&self) -> Result<Qemu, StartError> {
        let dir = TempDir::new()?;
        fs::write(dir.path().join("image"), self.image.bytes())?;
        let accelerator = if self.needs_kvm() { "kvm" } else { "tcg" };
        let mut arguments = vec!["-no-user-config", "-accel", accelerator, "-M", self.machine];
        let others = self.arguments.split_whitespace();
        arguments.extend(others.map(|word| if word == "IMAGE" { "image" } else { word }));
        Qemu::start_in(dir, &self.program(), &arguments)
    }
}
