//! Which parts of a process's memory have none: nothing was ever written there, or it was discarded
//! (madvise(2) MADV_DONTNEED and MADV_REMOVE, fallocate(2) FALLOC_FL_PUNCH_HOLE).
//!
//! - Private memory: /proc/PID/pagemap (`Documentation/admin-guide/mm/pagemap.rst`), a page that is
//!   neither present nor swapped. The kernel drops what was written to such memory in no other way.
//! - A file in shared memory (tmpfs, memfd): a hole of the file (lseek(2) SEEK_DATA). Another process
//!   may have written what this one never touched, so its pagemap says nothing.
//! - A private mapping of such a file: both.
//!
//! Of anything else (hugetlbfs, files on disks) nothing is said to be absent.

use crate::maps::{MappedRange, MemoryMaps};
use rustix::fs::{SeekFrom, fstatfs, major, minor, seek};
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// Bytes of an entry of a pagemap.
const ENTRY: u64 = 8;
/// Bit 63: present; 62: swapped, or another entry that is not nothing; 58: a guard.
const SOMETHING: u64 = 1 << 63 | 1 << 62 | 1 << 58;
/// How many entries are read at once.
const ENTRIES: usize = 8192;
/// TMPFS_MAGIC of linux/magic.h; memfds that have no huge pages are of it.
const TMPFS: i64 = 0x0102_1994;

/// Parts of a memory, in order, none empty, none touching the next.
pub(crate) type Parts = Vec<Range<u64>>;

/// Which of these addresses of a process have no memory. What can't be asked for has some.
pub(crate) fn absent(pid: u32, start: u64, bytes: u64) -> io::Result<Parts> {
    let maps = MemoryMaps::of(pid)?;
    let mut parts = Parts::new();
    for mapping in maps.pieces(start, bytes).unwrap_or_default() {
        let within = mapping.start.max(start)..mapping.end.min(start.saturating_add(bytes));
        let holes =
            || file(pid, mapping).map_or(Ok(Parts::new()), |file| holes(&file, mapping, &within));
        let found = match (mapping.shared, mapping.inode) {
            (false, 0) => untouched(pid, &within)?,
            (false, _) => common(&untouched(pid, &within)?, &holes()?),
            (true, _) => holes()?,
        };
        found.into_iter().for_each(|part| push(&mut parts, part));
    }
    Ok(parts)
}

/// The holes of a file that is in shared memory.
pub(crate) fn holes_of(file: &File, offset: u64, bytes: u64) -> io::Result<Parts> {
    let mut parts = Parts::new();
    if fstatfs(file)?.f_type as i64 != TMPFS {
        return Ok(parts);
    }
    let end = offset.saturating_add(bytes);
    let mut at = offset;
    while at < end {
        let data = match seek(file, SeekFrom::Data(at)) {
            Ok(data) => data.min(end),
            // Nothing but a hole up to the end.
            Err(rustix::io::Errno::NXIO) => end,
            Err(errno) => return Err(errno.into()),
        };
        if data > at {
            push(&mut parts, at..data);
        }
        if data >= end {
            break;
        }
        at = seek(file, SeekFrom::Hole(data))?;
    }
    Ok(parts)
}

fn holes(file: &File, mapping: &MappedRange, within: &Range<u64>) -> io::Result<Parts> {
    let offset = mapping.offset + (within.start - mapping.start);
    let parts = holes_of(file, offset, within.end - within.start)?;
    let address = |at: u64| at - offset + within.start;
    Ok(parts.into_iter().map(|part| address(part.start)..address(part.end)).collect())
}

/// The file behind a mapping: that which has the mapping's device and number, of those that the
/// process has open, or at the path that the kernel names.
fn file(pid: u32, mapping: &MappedRange) -> Option<File> {
    let is_it = |path: &Path| {
        let about = fs::metadata(path).ok()?;
        let device = (major(about.dev()), minor(about.dev()));
        (about.is_file() && (device, about.ino()) == (mapping.device, mapping.inode)).then_some(())
    };
    let opened = |path: &Path| is_it(path).and_then(|()| File::open(path).ok());
    let named = Path::new("/proc").join(pid.to_string());
    let mapped = named.join(format!("map_files/{:x}-{:x}", mapping.start, mapping.end));
    let mut open = fs::read_dir(named.join("fd")).into_iter().flatten().flatten();
    opened(&mapping.path)
        .or_else(|| open.find_map(|entry| opened(&entry.path())))
        .or_else(|| opened(&mapped))
}

/// Which pages of a process are neither present nor swapped.
fn untouched(pid: u32, within: &Range<u64>) -> io::Result<Parts> {
    let page = rustix::param::page_size() as u64;
    let pagemap = File::open(format!("/proc/{pid}/pagemap"))?;
    let (mut first, last) = (within.start / page, within.end.div_ceil(page));
    let mut bytes = vec![0; ENTRIES * ENTRY as usize];
    let mut parts = Parts::new();
    while first < last {
        let wanted = ((last - first) as usize).min(ENTRIES) * ENTRY as usize;
        let got = pagemap.read_at(&mut bytes[..wanted], first * ENTRY)?;
        let (entries, _) = bytes[..got].as_chunks::<{ ENTRY as usize }>();
        if entries.is_empty() {
            break;
        }
        for (number, entry) in (first..).zip(entries) {
            if u64::from_ne_bytes(*entry) & SOMETHING == 0 {
                let from = (number * page).max(within.start);
                push(&mut parts, from..((number + 1) * page).min(within.end));
            }
        }
        first += entries.len() as u64;
    }
    Ok(parts)
}

/// Adds a part that does not begin before the last one ends.
fn push(parts: &mut Parts, part: Range<u64>) {
    match parts.last_mut() {
        Some(last) if last.end == part.start => last.end = part.end,
        _ => parts.push(part),
    }
}

/// What is in both.
fn common(one: &[Range<u64>], other: &[Range<u64>]) -> Parts {
    let mut parts = Parts::new();
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    while let (Some(a), Some(b)) = (one.peek(), other.peek()) {
        let both = a.start.max(b.start)..a.end.min(b.end);
        if both.start < both.end {
            push(&mut parts, both);
        }
        if a.end <= b.end {
            one.next()
        } else {
            other.next()
        };
    }
    parts
}

#[cfg(test)]
mod tests;
