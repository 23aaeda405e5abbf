//! What a lab needs of this machine, asked before anything is started.

use super::{LabError, LabSpec};
use crate::board::QEMU;
use std::process::Command;

/// The oldest QEMU: it knows `reconnect-ms`.
const LEAST: (u32, u32) = (10, 0);
/// What a board's QEMU needs besides the board's memory, in MiB: translated code, above all.
const BESIDES: u64 = 320;

/// Errors unless QEMU is there and new enough, the programs of ssh are, there is memory, and the
/// boards' names can be used.
pub fn need(spec: &LabSpec) -> Result<(), LabError> {
    names(spec)?;
    let said = |program: &str, flag: &str| {
        let output = Command::new(program).arg(flag).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let missing = |program, package| LabError::Missing { program, package };
    let about = said(QEMU, "--version").ok_or_else(|| missing(QEMU, "qemu-system-arm"))?;
    if version(&about).is_none_or(|found| found < LEAST) {
        let found = about.lines().next().unwrap_or("of an unknown version").to_owned();
        return Err(LabError::TooOld { program: QEMU, found, least: "10.0" });
    }
    said("ssh", "-V").ok_or_else(|| missing("ssh", "openssh-client"))?;
    memory(spec)
}

fn names(spec: &LabSpec) -> Result<(), LabError> {
    for (index, node) in spec.nodes.iter().enumerate() {
        let name = &node.name;
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric());
        let again = spec.nodes[..index].iter().any(|other| other.name == *name);
        if name.is_empty() || name.len() > 12 || !plain || again {
            return Err(LabError::Name(name.clone()));
        }
    }
    Ok(())
}

fn memory(spec: &LabSpec) -> Result<(), LabError> {
    let needed = spec.nodes.iter().map(|node| u64::from(node.spec.memory) + BESIDES).sum();
    let Some(available) = available() else { return Ok(()) };
    if needed <= available {
        return Ok(());
    }
    Err(LabError::Memory { needed, available, boards: spec.nodes.len() })
}

/// How many MiB there are for us, by the machine and by every memory cgroup that we are in.
fn available() -> Option<u64> {
    memtwin_room::MemoryRoom::of_self().tightest().map(|limit| limit.available >> 20)
}

/// The 10 and 0 of `QEMU emulator version 10.0.2 (Debian …)`.
fn version(said: &str) -> Option<(u32, u32)> {
    let (_, version) = said.split_once("version ")?;
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::BoardSpec;
    use crate::boards::Node;

    fn spec(names: &[&str], memory: u32) -> LabSpec {
        let node = |name: &&str| Node {
            name: (*name).to_owned(),
            spec: BoardSpec { memory, ..BoardSpec::default() },
            nics: Vec::new(),
            disks: Vec::new(),
            load: Vec::new(),
        };
        LabSpec { nodes: names.iter().map(node).collect(), files: Vec::new() }
    }

    #[test]
    fn names_and_memory_are_seen_to() {
        assert!(names(&spec(&["a", "storage"], 1)).is_ok());
        for odd in [&["a", "a"] as &[&str], &[""], &["../x"], &["averylongname"], &["a b"]] {
            assert!(names(&spec(odd, 1)).is_err(), "{odd:?}");
        }
        let error = memory(&spec(&["a", "b"], 1 << 30)).unwrap_err().to_string();
        assert!(error.contains(" MiB of memory needed for 2 boards, "), "{error}");
    }

    #[test]
    fn versions_are_numbers() {
        assert_eq!(version("QEMU emulator version 10.0.2 (Debian)"), Some((10, 0)));
        assert!(version("QEMU emulator version 9.2.0") < Some(LEAST));
        assert_eq!(version("no"), None);
    }
}
