//! A process's own limits: RLIMIT_AS and RLIMIT_DATA (getrlimit(2)), and what it has of each.

use crate::MemoryLimit;
use crate::meminfo::field;
use std::fs;
use std::path::Path;

/// What RLIMIT_AS still has room for, if it limits.
pub(crate) fn address_space(process: &Path) -> Option<MemoryLimit> {
    limit(process, "Max address space", "VmSize", "RLIMIT_AS (ulimit -v)")
}

/// What RLIMIT_DATA still has room for, if it limits: private memory that can be written.
pub(crate) fn data(process: &Path) -> Option<MemoryLimit> {
    limit(process, "Max data size", "VmData", "RLIMIT_DATA (ulimit -d)")
}

fn limit(process: &Path, name: &str, used: &str, source: &str) -> Option<MemoryLimit> {
    let read = |name: &str| fs::read_to_string(process.join(name)).unwrap_or_default();
    let total = soft(&read("limits"), name)?;
    let used = field(&read("status"), used)?;
    Some(MemoryLimit { available: total.saturating_sub(used), total, source: source.to_owned() })
}

/// The soft limit in bytes of a line of /proc/PID/limits; none if it is `unlimited`.
fn soft(limits: &str, name: &str) -> Option<u64> {
    let rest = limits.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_its_number_less_what_there_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        file("status", "VmPeak:\t 9 kB\nVmSize:\t  2048 kB\nVmData:\t 100 kB\n");
        let lines = "Max data size             unlimited            unlimited            bytes\n\
                     Max address space         4194304              unlimited            bytes\n";
        file("limits", lines);
        let found = address_space(dir.path()).unwrap();
        assert_eq!((found.available, found.total), (2 << 20, 4 << 20));
        assert!(found.source.contains("RLIMIT_AS"));
        assert_eq!(data(dir.path()), None, "unlimited");
        assert_eq!(address_space(Path::new("/nonexistent")), None);
    }
}
