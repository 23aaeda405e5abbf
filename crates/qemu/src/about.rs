//! What QEMU says of itself: `query-version`, `query-target`, `query-kvm` (`qapi/control.json`,
//! `qapi/machine.json`).

use memtwin_qmp::{Qmp, QmpError};
use serde::Deserialize;
use std::fmt;

/// QEMU's version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QemuVersion {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
    /// The third.
    pub micro: u32,
    /// Who packaged it, and how they name it; empty for QEMU's own.
    pub package: String,
}

impl fmt::Display for QemuVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)?;
        if self.package.is_empty() { Ok(()) } else { write!(f, " ({})", self.package) }
    }
}

/// Whether the guest runs under KVM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Kvm {
    /// It does.
    pub enabled: bool,
    /// This QEMU could.
    pub present: bool,
}

/// QEMU's version. Errors: as [`Qmp::execute`].
pub fn version(qmp: &mut Qmp) -> Result<QemuVersion, QmpError> {
    #[derive(Deserialize)]
    struct VersionNumbers {
        major: u32,
        minor: u32,
        micro: u32,
    }
    #[derive(Deserialize)]
    struct Answer {
        qemu: VersionNumbers,
        package: String,
    }
    let Answer { qemu, package } = qmp.execute("query-version", ())?;
    Ok(QemuVersion { major: qemu.major, minor: qemu.minor, micro: qemu.micro, package })
}

/// The guest's architecture, in QEMU's names: aarch64, x86_64, … Errors: as [`Qmp::execute`].
pub fn target(qmp: &mut Qmp) -> Result<String, QmpError> {
    #[derive(Deserialize)]
    struct Answer {
        arch: String,
    }
    qmp.execute("query-target", ()).map(|Answer { arch }| arch)
}

/// Whether the guest runs under KVM. Errors: as [`Qmp::execute`].
pub fn kvm(qmp: &mut Qmp) -> Result<Kvm, QmpError> {
    qmp.execute("query-kvm", ())
}
