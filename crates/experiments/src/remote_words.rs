//! What is typed on another machine: the words of our commands there. They are parsed there, by the command
//! line of the Memtwin that we have put there.

use crate::config::{AuditExperimentConfig, ReplicateExperimentConfig};
use memtwin_kvm::Mode;
use memtwin_vmm::Granule;
use std::time::Duration;

/// How many rounds a case of a check runs: a board is slow.
pub(crate) const CHECK_ROUNDS: u32 = 20;

fn owned<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).into()
}

fn micros(time: Duration) -> String {
    format!("{}us", time.as_micros())
}

/// Of a guest under KVM, whose image is in a folder there, with a ring or a bitmap.
fn experiment(name: &str, guest: &str, ring: Option<u32>) -> Vec<String> {
    let mut words = owned(["lab", "run", name, "--accel", "kvm", "--image", guest]);
    if let Some(entries) = ring {
        words.extend(["--dirty-ring".to_owned(), entries.to_string()]);
    }
    words
}

/// The replication of a guest's window; `to`: then once more to a receiver here.
pub(crate) fn replicate(
    config: &ReplicateExperimentConfig,
    guest: &str,
    ring: Option<u32>,
    to: Option<&str>,
) -> Vec<String> {
    let mut words = experiment("replicate", guest, ring);
    let options = [
        ("--size", config.guest.bytes.to_string()),
        ("--seconds", micros(config.time)),
        ("--interval", micros(config.interval)),
        ("--timeout", micros(config.timeout)),
    ];
    for (option, value) in options {
        words.extend([option.to_owned(), value]);
    }
    words.extend(to.into_iter().flat_map(|to| owned(["--to", to])));
    words.extend(config.control.then(|| "--control".to_owned()));
    words
}

/// The audit of a guest whose devices write.
pub(crate) fn audit(config: &AuditExperimentConfig, guest: &str, ring: Option<u32>) -> Vec<String> {
    let mut words = experiment("audit", guest, ring);
    words.extend(["--seconds".to_owned(), micros(config.time)]);
    words
}

/// The check of one granule of an aarch64 machine.
pub(crate) fn granule_check(granule: Granule, modes: &[Mode], va_bits: &[u8]) -> Vec<String> {
    let modes: Vec<&str> = modes.iter().map(|mode| mode.name()).collect();
    let bits: Vec<String> = va_bits.iter().map(u8::to_string).collect();
    let (modes, rounds, bits) = (modes.join(","), CHECK_ROUNDS.to_string(), bits.join(","));
    let granule = granule.name();
    owned(["--mode", &modes, "--rounds", &rounds, "--va-bits", &bits, "--granule", granule])
}

/// The check of a machine that has page tables of its own.
pub(crate) fn plain_check(all: bool) -> Vec<String> {
    let mut words = owned(["--rounds", &CHECK_ROUNDS.to_string()]);
    words.extend(all.then(|| "--all".to_owned()));
    words
}
