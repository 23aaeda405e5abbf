//! What QEMU says of itself: `query-version`, `query-target`, `query-kvm` (`qapi/control.json`,
//! `qapi/machine.json`).

use memtwin_qmp::{Qmp, QmpError};
use serde::Deserialize;
use serde_json::json;
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

/// The version of QEMU whose devices the machine type has, as (10, 0) for `pc-i440fx-10.0`. `None`: this
/// machine type has no versions of QEMU's own, or this QEMU does not say.
///
/// Errors: as [`Qmp::execute`].
pub fn machine_version(qmp: &mut Qmp) -> Result<Option<(u32, u32)>, QmpError> {
    let asked = json!({ "path": "/machine", "property": "type" });
    match qmp.execute::<String>("qom-get", asked) {
        Ok(class) => Ok(version_in(&class)),
        Err(QmpError::Refused { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// As `pc-i440fx-10.0-machine`, `virt-2.6-machine`; not `pc-q35-rhel9.6.0-machine`.
fn version_in(class: &str) -> Option<(u32, u32)> {
    let (_, version) = class.strip_suffix("-machine")?.rsplit_once('-')?;
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Whether the guest runs under KVM. Errors: as [`Qmp::execute`].
pub fn kvm(qmp: &mut Qmp) -> Result<Kvm, QmpError> {
    qmp.execute("query-kvm", ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_machine_type() {
        assert_eq!(version_in("pc-i440fx-10.0-machine"), Some((10, 0)));
        assert_eq!(version_in("virt-2.6-machine"), Some((2, 6)));
        for none in ["microvm-machine", "raspi3b-machine", "pc-q35-rhel9.6.0-machine", "virt-10.0"]
        {
            assert_eq!(version_in(none), None, "{none}");
        }
    }
}
