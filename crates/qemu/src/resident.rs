//! How much memory a guest really has: what of its blocks exists (proc_pid_smaps(5)). A guest of
//! 64 GiB that has touched 1 GiB needs a twin of 1 GiB.

use crate::block::Block;
use crate::process::Process;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// What some blocks are in memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// As the guest sees them.
    pub nominal: u64,
    /// What of them exists, in memory, on swap or in a file: nothing else can be anything but zero.
    /// As many as there are where the system does not say.
    pub resident: u64,
    /// What of them comes to exist when it is read: pages of shared memory that were never touched
    /// (shmem_fault in mm/shmem.c). A migration reads every page.
    pub untouched_shared: u64,
}

impl Process {
    /// What these blocks are now. Those of unknown place count as touched.
    pub fn footprint(&self, blocks: &[Block]) -> Footprint {
        let smaps = fs::read_to_string(format!("/proc/{}/smaps", self.pid())).unwrap_or_default();
        let entries = parse(&smaps);
        let mut sum = Footprint::default();
        for block in blocks {
            let of = block.hva.and_then(|hva| self.of_block(hva, block.used, &entries));
            let (resident, untouched_shared) = of.unwrap_or((block.used, 0));
            sum.nominal += block.used;
            sum.resident += resident;
            sum.untouched_shared += untouched_shared;
        }
        sum
    }

    /// What exists of a block, and what of it would by being read.
    fn of_block(&self, hva: u64, used: u64, entries: &[SmapsEntry]) -> Option<(u64, u64)> {
        let end = hva.checked_add(used)?;
        let (mut covered, mut resident, mut untouched) = (0, 0, 0);
        for entry in entries.iter().filter(|entry| entry.start < end && entry.end > hva) {
            let bytes = entry.end.min(end) - entry.start.max(hva);
            covered += bytes;
            let in_file = if entry.shared { self.in_file(entry) } else { None };
            // Of a neighbour that shares the entry there may be some in it too: it is a bound.
            let exists = match (entry.shared, in_file) {
                (true, None) => bytes,
                (_, in_file) => entry.exists.max(in_file.map_or(0, |file| file.bytes)).min(bytes),
            };
            resident += exists;
            if in_file.is_some_and(|file| file.is_memory) {
                untouched += bytes - exists;
            }
        }
        (covered == used).then_some((resident, untouched))
    }

    /// How much there is of the file behind shared memory, mapped by this process or not.
    fn in_file(&self, entry: &SmapsEntry) -> Option<InFile> {
        let path = format!("/proc/{}/map_files/{:x}-{:x}", self.pid(), entry.start, entry.end);
        let path = PathBuf::from(path);
        // In 512 bytes, whatever the file system (stat(2)).
        let bytes = fs::metadata(&path).ok()?.blocks() * 512;
        Some(InFile { bytes, is_memory: memtwin_room::is_memory(&path) })
    }
}

#[derive(Clone, Copy, Debug)]
struct InFile {
    bytes: u64,
    is_memory: bool,
}

/// An entry of smaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SmapsEntry {
    start: u64,
    end: u64,
    shared: bool,
    /// What of it is in memory or on swap; the page of zeros that reads of untouched memory share
    /// does not count.
    exists: u64,
}

fn parse(smaps: &str) -> Vec<SmapsEntry> {
    let mut entries: Vec<SmapsEntry> = Vec::new();
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let (Some(first), Some(second)) = (words.next(), words.next()) else { continue };
        let counts = ["Rss:", "Swap:", "Shared_Hugetlb:", "Private_Hugetlb:"];
        if let Some(range) = range(first) {
            let shared = second.as_bytes().get(3) == Some(&b's');
            entries.push(SmapsEntry { start: range.0, end: range.1, shared, exists: 0 });
        } else if counts.contains(&first)
            && let (Some(entry), Ok(kib)) = (entries.last_mut(), second.parse::<u64>())
        {
            entry.exists = entry.exists.saturating_add(kib.saturating_mul(1024));
        }
    }
    entries
}

/// `7f0000000000-7f0000200000`.
fn range(word: &str) -> Option<(u64, u64)> {
    let (from, to) = word.split_once('-')?;
    Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_mapping::Mapping;
    use rustix::fs::{MemfdFlags, memfd_create};
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;

    #[test]
    fn an_entry_has_what_exists_of_it() {
        let smaps = "\
00400000-00500000 r-xp 00000000 00:00 0 /bin/x
Rss:                  12 kB
7f0000000000-7f0000400000 rw-s 00000000 00:01 9                          /memfd:ram (deleted)
Size:               4096 kB
Rss:                2048 kB
Shared_Hugetlb:     1024 kB
Swap:                  4 kB
SwapPss:              40 kB
VmFlags: rd wr sh
";
        let expected = [
            SmapsEntry { start: 0x40_0000, end: 0x50_0000, shared: false, exists: 12 << 10 },
            SmapsEntry {
                start: 0x7f00_0000_0000,
                end: 0x7f00_0040_0000,
                shared: true,
                exists: 3076 << 10,
            },
        ];
        assert_eq!(parse(smaps), expected);
    }

    fn block(hva: u64, used: u64) -> Block {
        let (name, windows) = ("ram".to_owned(), Vec::new());
        Block {
            name,
            is_named: true,
            used,
            total: used,
            hva: Some(hva),
            host_page: 4096,
            windows,
            read_only: None,
        }
    }

    /// Shared memory of this process: a file that exists in part, of which we have touched nothing.
    #[test]
    fn of_shared_memory_the_file_counts_and_not_what_is_mapped() {
        let page = rustix::param::page_size() as u64;
        let file = File::from(memfd_create("footprint", MemfdFlags::CLOEXEC).unwrap());
        file.set_len(64 * page).unwrap();
        for at in [0, 9, 60] {
            file.write_all_at(b"x", at * page).unwrap();
        }
        let mapping = Mapping::shared(file.as_fd(), 64 * page as usize, 1).unwrap();
        let ours = Process::open(std::process::id()).unwrap();
        let found = ours.footprint(&[block(mapping.address(), 64 * page)]);
        let (nominal, resident) = (64 * page, 3 * page);
        // Who may not look at the file must take it for whole.
        if found.resident != nominal {
            assert_eq!(found, Footprint { nominal, resident, untouched_shared: 61 * page });
        }
        let unknown = Block { hva: None, ..block(0, 5 * page) };
        let found = ours.footprint(&[unknown]);
        assert_eq!((found.nominal, found.resident), (5 * page, 5 * page));
        let elsewhere = ours.footprint(&[block(page, 5 * page)]);
        assert_eq!(elsewhere.resident, 5 * page, "where there is nothing nothing is known");
    }
}
