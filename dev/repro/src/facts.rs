//! What a QEMU says of itself before it has a guest: its version, and the machine types that it has.

use memtwin_qemu::{QemuVersion, version};
use memtwin_qmp::{Qmp, QmpError};
use memtwin_testbed::{Qemu, StartError};
use serde::Deserialize;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How long QEMU may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What a QEMU says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QemuFacts {
    /// Its version.
    pub version: QemuVersion,
    machines: Vec<String>,
}

/// Why it says nothing.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// No temporary folder.
    #[error("can't make a temporary folder: {0}")]
    Folder(#[source] io::Error),
    /// It does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It does not answer.
    #[error(transparent)]
    Qmp(#[from] QmpError),
}

/// A machine type (MachineInfo of `query-machines`).
#[derive(Deserialize)]
struct MachineInfo {
    name: String,
}

/// Connects to the monitor of a QEMU that has just been started.
///
/// Errors: it does not answer; twice, as QEMU 5.2 may send a client that comes while it starts an event
/// before the greeting.
pub(crate) fn monitor(qemu: &Qemu, patience: Duration) -> Result<Qmp, QmpError> {
    match Qmp::connect(&qemu.qmp(), patience) {
        Err(error) if !error.is_gone() => Qmp::connect(&qemu.qmp(), patience),
        connected => connected,
    }
}

impl QemuFacts {
    /// Asks a program, in a machine that has nothing.
    ///
    /// Errors: it can't be started, or does not answer.
    pub fn of(program: &Path) -> Result<Self, FactsError> {
        let folder = tempfile::tempdir().map_err(FactsError::Folder)?;
        let mut command = Command::new(program);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-M", "none", "-qmp"]);
        command.arg(format!("unix:{},server=on,wait=off", Qemu::qmp_in(folder.path()).display()));
        let qemu = Qemu::launch(folder, command)?;
        let mut qmp = monitor(&qemu, TIMEOUT)?;
        let machines: Vec<MachineInfo> = qmp.execute("query-machines", ())?;
        let machines = machines.into_iter().map(|machine| machine.name).collect();
        Ok(Self { version: version(&mut qmp)?, machines })
    }

    /// The newest and the oldest of the versioned machine types that a plain name (`pc`, `q35`, `virt`)
    /// stands for the newest of; the plain name where there are none, the newest alone where there is one.
    pub fn machine_types(&self, plain: &str) -> Vec<String> {
        let family = match plain {
            "pc" => "pc-i440fx-",
            "q35" => "pc-q35-",
            "virt" => "virt-",
            _ => return vec![plain.to_owned()],
        };
        let number = |name: &String| {
            let (major, minor) = name.strip_prefix(family)?.split_once('.')?;
            Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
        };
        let versioned = self.machines.iter().filter_map(|name| Some((number(name)?, name)));
        let (oldest, newest) = (versioned.clone().min(), versioned.max());
        let mut types: Vec<String> =
            newest.into_iter().chain(oldest).map(|(_, name)| name.clone()).collect();
        types.dedup();
        if types.is_empty() { vec![plain.to_owned()] } else { types }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_a_machine_are_ordered_as_numbers() {
        let names =
            "pc q35 pc-i440fx-9.2 pc-i440fx-10.0 pc-q35-8.1 pc-i440fx-2.12 none pc-i440fx-noble";
        let version = QemuVersion { major: 10, minor: 0, micro: 2, package: String::new() };
        let machines = names.split(' ').map(str::to_owned).collect();
        let facts = QemuFacts { version, machines };
        assert_eq!(facts.machine_types("pc"), ["pc-i440fx-10.0", "pc-i440fx-2.12"]);
        assert_eq!(facts.machine_types("q35"), ["pc-q35-8.1"], "newest and oldest in one");
        assert_eq!(facts.machine_types("virt"), ["virt"]);
        assert_eq!(facts.machine_types("microvm"), ["microvm"]);
    }
}
