//! QEMUs of several releases, from the lab's cache.

use crate::interrupt::Interrupt;
use crate::shown::Shown;
use memtwin_lab::provision::open_cache;
use memtwin_lab::qemu_release::{QemuRelease, ReleasedQemu, build};

/// A release, fetched if it is not in the cache; others may use the cache again afterwards.
///
/// Errors: it can't be fetched, or is another version than it should be.
pub(crate) fn fetch(release: QemuRelease, interrupt: &Interrupt) -> anyhow::Result<ReleasedQemu> {
    let mut progress = Shown(interrupt);
    let cache = open_cache(&mut progress)?;
    Ok(build(&cache, release, &mut progress)?)
}
