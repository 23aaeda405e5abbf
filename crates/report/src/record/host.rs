//! The machine that a run took place on.

use serde::{Deserialize, Serialize};
use std::thread;

/// What there is to know about a machine when its verdict is compared with another's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// The architecture: `aarch64`, `x86_64`.
    pub arch: String,
    /// The kernel's release, as `uname -r` says it.
    pub kernel: String,
    /// The size of a page in bytes.
    pub page_size: u64,
    /// How many CPUs this process may use.
    pub cpus: u64,
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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_the_one_that_the_kernel_describes() {
        let host = HostFacts::this_machine();
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(host.kernel, release.trim_end());
        assert!(host.page_size.is_power_of_two());
        assert!(host.cpus >= 1);
    }
}
