//! The machine that a run took place on.

use serde::{Deserialize, Serialize};
use std::thread;

/// What there is to know about a machine when its verdict is compared with another's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HostFacts {
    /// The architecture: `aarch64`, `x86_64`.
    pub arch: String,
    /// The kernel's release, as `uname -r` says it.
    pub kernel: String,
    /// The size of a page in bytes.
    pub page_size: u64,
    /// How many CPUs this process may use.
    pub cpus: u64,
    /// The CPU's model, as the kernel names it; absent where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_model: Option<String>,
    /// What this host's KVM offers for a dirty log; absent where there is no KVM, or it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kvm: Option<KvmFacts>,
}

/// What a host's KVM offers for a dirty log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct KvmFacts {
    /// Memtwin's modes that it has: `get`, `clear`, `ring`.
    pub dirty_log: Vec<String>,
    /// How many entries a dirty ring may have at most; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring_entries_max: Option<u32>,
    /// Whether the ring is backed by a bitmap, for writes outside any vCPU.
    pub ring_bitmap: bool,
    /// The flags of KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2; 0 is: not offered.
    pub manual_protect: u32,
}

impl HostFacts {
    /// This machine, asked now.
    pub fn this_machine() -> Self {
        Self {
            arch: std::env::consts::ARCH.to_owned(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            page_size: rustix::param::page_size() as u64,
            // It can't be told only where a sandbox forbids to ask: we run, so there is one.
            cpus: thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64),
            cpu_model: std::fs::read_to_string("/proc/cpuinfo")
                .ok()
                .and_then(|text| model_in(&text)),
            kvm: None,
        }
    }
}

/// The model in /proc/cpuinfo. Arm's kernels name none, but implementer and part of the MIDR.
fn model_in(cpuinfo: &str) -> Option<String> {
    let value = |key: &str| {
        let fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        let found = fields.filter(|(name, _)| name.trim() == key).map(|(_, value)| value.trim());
        found.map(str::to_owned).find(|value| !value.is_empty())
    };
    value("model name").or_else(|| {
        let (implementer, part) = (value("CPU implementer")?, value("CPU part")?);
        Some(format!("implementer {implementer}, part {part}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_what_the_kernel_names() {
        let x86 = "processor\t: 0\nvendor_id\t: V\nmodel\t\t: 85\nmodel name\t: Some CPU @ 2 GHz\n";
        assert_eq!(model_in(x86).as_deref(), Some("Some CPU @ 2 GHz"));
        let arm =
            "processor\t: 0\nCPU implementer\t: 0x41\nCPU variant\t: 0x1\nCPU part\t: 0xd07\n";
        assert_eq!(model_in(arm).as_deref(), Some("implementer 0x41, part 0xd07"));
        assert_eq!(model_in("processor: 0\nmodel name:\n"), None);
    }

    #[test]
    fn this_machine_is_the_one_that_the_kernel_describes() {
        let host = HostFacts::this_machine();
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(host.kernel, release.trim_end());
        assert!(host.page_size.is_power_of_two());
        assert!(host.cpus >= 1);
    }
}
