//! `/proc/PID/maps` (proc_pid_maps(5)): what memory a process has, and of which files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One line of it: memory with the same rights and the same backing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MappedRange {
    pub(crate) start: u64,
    pub(crate) end: u64,
    readable: bool,
    pub(crate) shared: bool,
    pub(crate) offset: u64,
    pub(crate) device: (u32, u32),
    pub(crate) inode: u64,
    pub(crate) path: PathBuf,
}

/// A file, and where in it a range of memory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BackingFile {
    pub(crate) path: PathBuf,
    pub(crate) device: (u32, u32),
    pub(crate) inode: u64,
    pub(crate) offset: u64,
}

/// All of a process's memory, by address.
#[derive(Clone, Debug)]
pub(crate) struct MemoryMaps(Vec<MappedRange>);

impl MemoryMaps {
    /// Reads a process's. Errors: it is gone, or we may not look.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string(format!("/proc/{pid}/maps"))?))
    }

    fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(mapping).collect())
    }

    /// Whether all of these bytes can be read.
    pub(crate) fn cover(&self, start: u64, bytes: u64) -> bool {
        self.pieces(start, bytes).is_some_and(|pieces| pieces.iter().all(|piece| piece.readable))
    }

    /// The file that has these bytes, if it is one file, all of a piece, and writes to it are
    /// seen by everybody.
    pub(crate) fn backing(&self, start: u64, bytes: u64) -> Option<BackingFile> {
        let pieces = self.pieces(start, bytes)?;
        let first = *pieces.first()?;
        let is_one = pieces.iter().all(|piece| {
            let same_file = (piece.device, piece.inode) == (first.device, first.inode);
            let in_line = piece.start - first.start == piece.offset.wrapping_sub(first.offset);
            piece.shared && same_file && in_line
        });
        let is_file = first.inode != 0 && first.path.is_absolute();
        (is_one && is_file).then(|| BackingFile {
            path: first.path.clone(),
            device: first.device,
            inode: first.inode,
            offset: first.offset + (start - first.start),
        })
    }

    /// The mappings that hold these bytes, without a hole between them.
    pub(crate) fn pieces(&self, start: u64, bytes: u64) -> Option<Vec<&MappedRange>> {
        let end = start.checked_add(bytes)?;
        let mut at = start;
        let mut pieces = Vec::new();
        for mapping in self.0.iter().skip_while(|mapping| mapping.end <= start) {
            if at >= end {
                break;
            }
            if mapping.start > at {
                return None;
            }
            pieces.push(mapping);
            at = mapping.end;
        }
        (at >= end).then_some(pieces)
    }
}

/// `7f00…-7f10… rw-s 00000000 00:01 1234    /dev/shm/a name`.
fn mapping(line: &str) -> Option<MappedRange> {
    let mut rest = line;
    let mut word = || {
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = after;
        word
    };
    let (start, end) = word().split_once('-')?;
    let rights = word().as_bytes();
    let offset = word();
    let (major, minor) = word().split_once(':')?;
    let inode = word().parse().ok()?;
    Some(MappedRange {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        readable: rights.first() == Some(&b'r'),
        shared: rights.get(3) == Some(&b's'),
        offset: u64::from_str_radix(offset, 16).ok()?,
        device: (u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?),
        inode,
        path: Path::new(rest.trim_start()).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
7f0000000000-7f0000010000 rw-p 00000000 00:00 0
7f0000010000-7f0000020000 r--p 00000000 00:00 0                          [heap]
7f0000020000-7f0000030000 ---p 00000000 00:00 0
7f0000030000-7f0000040000 rw-s 00001000 00:19 77                         /dev/shm/a name (1)
7f0000040000-7f0000050000 rw-s 00011000 00:19 77                         /dev/shm/a name (1)
7f0000050000-7f0000060000 rw-s 00000000 00:19 77                         /dev/shm/a name (1)
7f0000070000-7f0000080000 rw-p 00000000 08:01 9                          /file
rubbish
";

    #[test]
    fn what_is_readable_without_a_hole_is_covered() {
        let maps = MemoryMaps::parse(TEXT);
        assert_eq!(maps.0.len(), 7);
        let base = 0x7f00_0000_0000;
        assert!(maps.cover(base, 0x2_0000));
        assert!(maps.cover(base + 0x1000, 0x1_f000));
        assert!(!maps.cover(base, 0x2_0001), "no right to read");
        assert!(maps.cover(base + 0x3_0000, 0x3_0000));
        assert!(!maps.cover(base + 0x5_0000, 0x1_0001), "a hole");
        assert!(!maps.cover(base - 1, 2));
        assert!(!maps.cover(base + 0x7_0000, 0x1_0001), "the end");
        assert!(!maps.cover(u64::MAX, 2));
    }

    #[test]
    fn a_shared_file_is_found_with_its_offset() {
        let maps = MemoryMaps::parse(TEXT);
        let base = 0x7f00_0003_0000;
        let backing = maps.backing(base + 0x2000, 0x1_8000).unwrap();
        assert_eq!((backing.offset, backing.inode, backing.device), (0x3000, 77, (0, 0x19)));
        assert_eq!(backing.path, Path::new("/dev/shm/a name (1)"));
        assert_eq!(maps.backing(base, 0x3_0000), None, "not all of a piece");
        assert_eq!(maps.backing(base + 0x4_0000, 0x1000), None, "private");
        assert_eq!(maps.backing(0x7f00_0000_0000, 0x1000), None, "no file");
    }
}
