//! A process's own limits: RLIMIT_AS and RLIMIT_DATA (getrlimit(2)), and what it has of each.

use crate::Limit;
use crate::meminfo::field;
use std::fs;
use std::path::Path;

/// What `Max address space` and `Max data size` still have room for, where they limit.
pub(crate) fn limits(process: &Path) -> Vec<Limit> {
    let read = |name: &str| fs::read_to_string(process.join(name)).unwrap_or_default();
    let (limits, status) = (read("limits"), read("status"));
    let limit = |(name, used, source): (&str, &str, &str)| {
        let total = soft(&limits, name)?;
        let used = field(&status, used)?;
        let source = source.to_owned();
        Some(Limit { available: total.saturating_sub(used), total, source })
    };
    [
        ("Max address space", "VmSize", "RLIMIT_AS (ulimit -v)"),
        ("Max data size", "VmData", "RLIMIT_DATA (ulimit -d)"),
    ]
    .into_iter()
    .filter_map(limit)
    .collect()
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
        let found = limits(dir.path());
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].available, found[0].total), (2 << 20, 4 << 20));
        assert!(found[0].source.contains("RLIMIT_AS"));
        assert!(limits(Path::new("/nonexistent")).is_empty());
    }
}
