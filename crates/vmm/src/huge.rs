//! Huge pages: their size, and whether a mapping really has them.

use std::fs;

const THP: &str = "/sys/kernel/mm/transparent_hugepage";

/// The size of a transparent huge page in bytes, if the kernel has them.
pub(crate) fn thp_size() -> Option<u64> {
    fs::read_to_string(format!("{THP}/hpage_pmd_size")).ok()?.trim().parse().ok()
}

/// Whether madvise(MADV_HUGEPAGE) is heeded; if not, why.
pub(crate) fn thp_offered() -> Result<u64, String> {
    let size = thp_size().ok_or("this kernel has no transparent huge pages")?;
    let enabled = fs::read_to_string(format!("{THP}/enabled")).unwrap_or_default();
    if enabled.contains("[never]") {
        return Err(format!(
            "transparent huge pages are off; echo madvise > {THP}/enabled to try them"
        ));
    }
    Ok(size)
}

/// How much memory this process can have, in bytes.
pub(crate) fn available() -> Option<u64> {
    memtwin_room::MemoryRoom::of_self().tightest().map(|limit| limit.available)
}

fn meminfo() -> Option<String> {
    fs::read_to_string("/proc/meminfo").ok()
}

fn field(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim_start_matches(':').split_whitespace().next()?.parse().ok()
}

/// The size in bytes of the default hugetlb page, and how many are free.
pub(crate) fn hugetlb_pool() -> Option<(u64, u64)> {
    let meminfo = meminfo()?;
    let field = |name| field(&meminfo, name);
    // What is reserved counts as free in the first number.
    let free = field("HugePages_Free")?.saturating_sub(field("HugePages_Rsvd")?);
    Some((field("Hugepagesize")? * 1024, free))
}

/// How many bytes of the mapping that begins at `address` lie in transparent huge pages.
pub(crate) fn thp_bytes_at(address: u64) -> u64 {
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    thp_bytes(&smaps, address)
}

fn thp_bytes(smaps: &str, address: u64) -> u64 {
    let mut within = false;
    for line in smaps.lines() {
        if let Some(range) = line.split_whitespace().next().and_then(parse_range) {
            within = range.contains(&address);
        } else if within && let Some(rest) = line.strip_prefix("AnonHugePages:") {
            let kib = rest.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
            return kib.unwrap_or(0) * 1024;
        }
    }
    0
}

/// An address range as it begins an entry of smaps: `7f0000000000-7f0000200000`.
fn parse_range(word: &str) -> Option<std::ops::Range<u64>> {
    let (from, to) = word.split_once('-')?;
    Some(u64::from_str_radix(from, 16).ok()?..u64::from_str_radix(to, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_of_an_address_is_found() {
        let smaps = "\
00400000-00500000 r-xp 00000000 00:00 0 /bin/x
Size:               1024 kB
AnonHugePages:         0 kB
7f0000000000-7f0000400000 rw-p 00000000 00:00 0
Size:               4096 kB
AnonHugePages:      2048 kB
";
        assert_eq!(thp_bytes(smaps, 0x7f00_0020_0000), 2 << 20);
        assert_eq!(thp_bytes(smaps, 0x0040_0000), 0);
        assert_eq!(thp_bytes(smaps, 0x7f00_0040_0000), 0);
    }
}
