//! The dirty ring: a vCPU's own list of the pages that it wrote.
//!
//! An entry goes round: empty -> the kernel fills it in and sets DIRTY -> we read it and set RESET
//! (*harvest*) -> KVM_RESET_DIRTY_RINGS protects the page again and empties the entry.

use crate::{LogError, ioctl};
use kvm_bindings::{KVM_DIRTY_LOG_PAGE_OFFSET, kvm_dirty_gfn};
use memtwin_mapping::{MapError, Mapping, host_page_size};
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;

/// KVM_DIRTY_GFN_F_DIRTY: the kernel has filled the entry in.
const DIRTY: u32 = 1;
/// KVM_DIRTY_GFN_F_RESET: we have read it.
const RESET: u32 = 2;

/// Where the fields of `struct kvm_dirty_gfn` lie.
const ENTRY: usize = size_of::<kvm_dirty_gfn>();
const FLAGS: usize = 0;
const SLOT: usize = 4;
const OFFSET: usize = 8;
const _: () = assert!(ENTRY == 16);

/// The ring of one vCPU.
#[derive(Debug)]
pub struct Ring {
    entries: u32,
    next: u32,
    mapping: Mapping,
}

impl Ring {
    /// How many entries a ring has at least: KVM refuses one that is smaller than a page of the host's
    /// (`kvm_vm_ioctl_enable_dirty_log_ring`).
    pub fn least_entries() -> u32 {
        u32::try_from(host_page_size() / ENTRY).unwrap_or(u32::MAX)
    }

    /// Maps the ring of a vCPU, which has `entries` entries (a power of two).
    pub fn of(vcpu: BorrowedFd<'_>, entries: u32) -> Result<Self, MapError> {
        let offset = u64::from(KVM_DIRTY_LOG_PAGE_OFFSET) * host_page_size() as u64;
        let mapping = Mapping::device(vcpu, offset, entries as usize * ENTRY)?;
        Ok(Self { entries, next: 0, mapping })
    }

    /// Reads every entry that is filled in and marks it as read. Returns how many there were.
    fn harvest(&mut self, mut name: impl FnMut(u32, u64)) -> u32 {
        let mut count = 0;
        while count < self.entries {
            let at = (self.next & (self.entries - 1)) as usize * ENTRY;
            let flags = self.mapping.half(at + FLAGS);
            // Acquire: what the kernel wrote before it set DIRTY is seen below.
            if flags.load(Ordering::Acquire) & DIRTY == 0 {
                break;
            }
            let slot = self.mapping.half(at + SLOT).load(Ordering::Relaxed);
            let offset = self.mapping.word(at + OFFSET).load(Ordering::Relaxed);
            name(slot, offset);
            // Release: the kernel may reuse the entry only after it was read.
            flags.store(RESET, Ordering::Release);
            self.next = self.next.wrapping_add(1);
            count += 1;
        }
        count
    }
}

/// The rings of all vCPUs of a machine.
#[derive(Debug, Default)]
pub struct Rings {
    rings: Vec<Ring>,
    /// Harvested, but the kernel has not been told yet.
    to_reset: bool,
    overflowed: bool,
}

impl Rings {
    /// These rings.
    pub fn new(rings: Vec<Ring>) -> Self {
        Self { rings, to_reset: false, overflowed: false }
    }

    /// Harvests and resets: names every page (slot, page number) that was in a ring, and returns
    /// when a new write to it would be logged again. Returns how many entries there were.
    ///
    /// On an error, what was harvested has been named.
    pub fn collect(
        &mut self,
        vm: BorrowedFd<'_>,
        mut name: impl FnMut(u32, u64),
    ) -> Result<u32, LogError> {
        let mut all = 0;
        for ring in &mut self.rings {
            let count = ring.harvest(&mut name);
            // The kernel sends a vCPU out before its ring is full, and keeps a reserve for what
            // one exit may still log. A ring filled to the last entry has used up that reserve,
            // and whatever came after was written over entries that nobody had read.
            self.overflowed |= count == ring.entries;
            all += count;
        }
        self.to_reset |= all > 0;
        if self.to_reset {
            ioctl::reset_dirty_rings(vm)?;
            self.to_reset = false;
        }
        Ok(all)
    }

    /// Whether a ring was ever found filled to the last entry: entries may be lost.
    pub fn overflowed(&self) -> bool {
        self.overflowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring in plain memory, filled as the kernel does.
    fn ring(entries: u32) -> Ring {
        let mapping = Mapping::anonymous(entries as usize * ENTRY, 1).unwrap();
        Ring { entries, next: 0, mapping }
    }

    fn push(ring: &Ring, index: u32, slot: u32, page: u64) {
        let at = (index & (ring.entries - 1)) as usize * ENTRY;
        ring.mapping.half(at + SLOT).store(slot, Ordering::Relaxed);
        ring.mapping.word(at + OFFSET).store(page, Ordering::Relaxed);
        ring.mapping.half(at + FLAGS).store(DIRTY, Ordering::Release);
    }

    #[test]
    fn each_entry_is_named_once_and_in_order_around_the_end() {
        let mut ring = ring(8);
        let mut index = 0;
        for batch in [3, 8, 0, 7, 1] {
            (0..batch).for_each(|i| push(&ring, index + i, 2, u64::from(index + i)));
            let mut named = Vec::new();
            assert_eq!(ring.harvest(|slot, page| named.push((slot, page))), batch);
            let expected = (index..index + batch).map(|page| (2, u64::from(page)));
            assert_eq!(named, expected.collect::<Vec<_>>());
            assert_eq!(ring.harvest(|_, _| panic!("named twice")), 0);
            index += batch;
        }
    }

    #[test]
    fn a_ring_without_room_never_loops() {
        let mut ring = ring(8);
        (0..8).for_each(|i| push(&ring, i, 0, 0));
        assert_eq!(ring.harvest(|_, _| ()), 8);
    }
}
