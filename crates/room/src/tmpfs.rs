//! Files in memory: tmpfs has a size of its own (tmpfs(5)).

use crate::MemoryLimit;
use rustix::fs::{StatVfs, statfs, statvfs};
use std::path::{Path, PathBuf};

/// `f_type` of the file systems that are memory (statfs(2)).
const TMPFS_MAGIC: u64 = 0x0102_1994;
const RAMFS_MAGIC: u64 = 0x8584_58f6;

/// Whether a file at this path, which need not exist yet, is or would be memory.
pub fn is_memory(path: &Path) -> bool {
    // Its type differs between architectures, and in sign.
    let kind = |path: &Path| statfs(path).map(|about| about.f_type as u64 & u64::from(u32::MAX));
    matches!(kind(&existing(path)), Ok(TMPFS_MAGIC | RAMFS_MAGIC))
}

/// What is free on the tmpfs of this path; none if it is no tmpfs, or one without a size.
pub fn tmpfs_limit(path: &Path) -> Option<MemoryLimit> {
    if !is_memory(path) {
        return None;
    }
    let about: StatVfs = statvfs(existing(path)).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(about.f_frsize);
    let total = bytes(about.f_blocks);
    let source = format!("the tmpfs of {}", path.display());
    (total > 0).then(|| MemoryLimit { available: bytes(about.f_bavail), total, source })
}

/// The path, or the nearest folder above it that exists.
fn existing(path: &Path) -> PathBuf {
    let found = path.ancestors().find(|path| !path.as_os_str().is_empty() && path.exists());
    found.map_or_else(|| PathBuf::from("."), Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dev_shm_is_memory_and_proc_is_not() {
        assert!(is_memory(Path::new("/dev/shm/not/there")));
        assert!(!is_memory(Path::new("/proc/self")));
        assert!(tmpfs_limit(Path::new("/proc")).is_none());
        if let Some(limit) = tmpfs_limit(Path::new("/dev/shm/x")) {
            assert!(limit.available <= limit.total, "{limit:?}");
            assert!(limit.source.contains("/dev/shm/x"));
        }
        assert!(existing(Path::new("no-such-name")).ends_with("."));
    }
}
