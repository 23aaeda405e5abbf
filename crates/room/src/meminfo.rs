//! /proc/meminfo (proc_meminfo(5)).

/// The value of a field in bytes: the file counts in KiB.
pub(crate) fn field(meminfo: &str, name: &str) -> Option<u64> {
    let rest = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = rest.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "MemTotal:       24683532 kB\nMemFree: 1 kB\nMemAvailable:   23922688 kB\n";
        assert_eq!(field(text, "MemAvailable"), Some(23_922_688 << 10));
        assert_eq!(field(text, "Mem"), None);
        assert_eq!(field("MemAvailable: many kB", "MemAvailable"), None);
    }
}
