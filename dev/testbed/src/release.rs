//! QEMUs of other versions than the host's own: those that `memtwin-lab` keeps in its cache
//! (`qemu_release`). They are made by `cargo xtask test` and by `cargo xtask repro --qemu-version`.

use std::path::PathBuf;

/// A program of a QEMU of this version, `7.2` for instance; it is there unless
/// [`Need::Release`](crate::Need::Release) is lacking.
pub fn release_program(version: &str, program: &str) -> PathBuf {
    cache().join("qemus").join(version).join("bin").join(program)
}

/// Where the lab's cache is (`Cache::place()` there); the working directory where nothing says.
fn cache() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("MEMTWIN_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("memtwin")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/memtwin")))
        .unwrap_or_default()
}
