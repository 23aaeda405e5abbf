//! Whether there is room for a twin in a file.

use crate::{TwinError, TwinPath};
use memtwin_room::{MemoryNeed, MemoryRoom};
use rustix::fs::{StatVfs, fstatfs, statvfs};
use std::fs::File;
use std::path::Path;

/// `f_type` of the file systems that are memory (statfs(2)).
const TMPFS_MAGIC: u64 = 0x0102_1994;
const RAMFS_MAGIC: u64 = 0x8584_58f6;

/// Whether a regular file or a directory lies in memory. A device does not, whatever its node lies in.
pub fn is_memory(file: &File) -> bool {
    let Ok(about) = file.metadata() else { return false };
    if !about.is_file() && !about.is_dir() {
        return false;
    }
    // Its type differs between architectures, and in sign.
    let kind = fstatfs(file).map(|about| about.f_type as u64 & u64::from(u32::MAX));
    matches!(kind, Ok(TMPFS_MAGIC | RAMFS_MAGIC))
}

/// Errors if a local twin clearly can't fit. The file that it replaces at PATH does not count as free:
/// it stays until pre-copy is over.
pub(crate) fn check_local(path: &Path, needed: u64) -> Result<(), TwinError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let about = statvfs(directory).map_err(|errno| TwinError::io("look at", directory, errno))?;
    match free(&about) {
        Some(free) if free < needed => {
            return Err(TwinError::NoSpace { path: path.to_owned(), needed, free });
        }
        _ => {}
    }
    if memtwin_room::is_memory(path) {
        let what = format!("the twin {}, which is memory", path.display());
        let way_out = "name a path on a disk";
        MemoryRoom::of_self().check(&MemoryNeed {
            memory: needed,
            way_out,
            ..MemoryNeed::of(&what)
        })?;
    }
    Ok(())
}

/// Errors if a received twin clearly can't fit.
pub(crate) fn check_received(place: &TwinPath, needed: u64) -> Result<(), TwinError> {
    let free = match free(&place.file_system()?) {
        Some(free) => free,
        None if !is_memory(place.directory()) => return Ok(()),
        None => {
            let memory = rustix::system::sysinfo();
            (memory.freeram as u64).saturating_mul(u64::from(memory.mem_unit))
        }
    };
    if free < needed {
        return Err(TwinError::NoSpace { path: place.path(""), needed, free });
    }
    Ok(())
}

/// How many bytes are free; `None` on a file system without a size (ramfs, tmpfs with size=0), which
/// says 0 of 0. Blocks that are kept for root count as free: root may be who asks.
fn free(about: &StatVfs) -> Option<u64> {
    (about.f_blocks > 0).then(|| about.f_bfree.saturating_mul(about.f_frsize))
}
