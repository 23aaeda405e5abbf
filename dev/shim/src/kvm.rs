//! Lies about KVM's dirty log (Documentation/virt/kvm/api.rst, 4.8, 4.35 and 4.117). To know how many
//! pages a slot has and where they lie, it watches how machines are made and slots are plugged.

#![allow(unsafe_code, reason = "the requests' arguments are the caller's structures")]

use crate::plan::{PlanProgress, WithholdPlan};
use crate::{ledger, real};
use libc::{c_int, c_ulong, c_void};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

const KVM_CREATE_VM: c_ulong = 0xae01;
const KVM_SET_USER_MEMORY_REGION: c_ulong = 0x4020_ae46;
/// Begins with the same fields, and has more behind them.
const KVM_SET_USER_MEMORY_REGION2: c_ulong = 0x40a0_ae49;
const KVM_ENABLE_CAP: c_ulong = 0x4068_aea3;
const KVM_GET_DIRTY_LOG: c_ulong = 0x4010_ae42;
const KVM_CLEAR_DIRTY_LOG: c_ulong = 0xc018_aec0;
const KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: u32 = 168;

#[repr(C)]
#[derive(Clone, Copy)]
struct MemoryRegion {
    slot: u32,
    flags: u32,
    gpa: u64,
    bytes: u64,
    hva: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct EnableCap {
    cap: u32,
    flags: u32,
    args: [u64; 4],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct DirtyLog {
    slot: u32,
    padding: u32,
    bitmap: *mut u64,
}

#[repr(C)]
struct ClearDirtyLog {
    slot: u32,
    pages: u32,
    first: u64,
    bitmap: *const u64,
}

/// The machines by file descriptor, and how many were made.
struct ShimMachines {
    made: u64,
    by_fd: Option<HashMap<c_int, ShimMachine>>,
}

#[derive(Default)]
struct ShimMachine {
    /// Which of this process's machines it is, from 1.
    number: u64,
    /// Getting does not clear: that is a request of its own.
    manual: bool,
    slots: HashMap<u32, ShimSlot>,
}

#[derive(Default)]
struct ShimSlot {
    gpa: u64,
    bytes: u64,
    progress: PlanProgress,
}

static MACHINES: Mutex<ShimMachines> = Mutex::new(ShimMachines { made: 0, by_fd: None });

/// Looks at a request that went well, and bends its answer if it is the dirty log.
///
/// # Safety
///
/// `arg` is what the request asks for, and the kernel has accepted it.
pub(crate) unsafe fn answered(
    plan: WithholdPlan,
    fd: c_int,
    request: c_ulong,
    arg: *mut c_void,
    answer: c_int,
) {
    if !matches!(
        request,
        KVM_CREATE_VM
            | KVM_SET_USER_MEMORY_REGION
            | KVM_SET_USER_MEMORY_REGION2
            | KVM_ENABLE_CAP
            | KVM_GET_DIRTY_LOG
    ) {
        return;
    }
    let mut machines = MACHINES.lock().unwrap_or_else(PoisonError::into_inner);
    let ShimMachines { made, by_fd } = &mut *machines;
    let by_fd = by_fd.get_or_insert_default();
    if request == KVM_CREATE_VM {
        *made += 1;
        by_fd.insert(answer, ShimMachine { number: *made, ..ShimMachine::default() });
        return;
    }
    // A vCPU, or a machine that was made before we were loaded.
    let Some(machine) = by_fd.get_mut(&fd) else { return };
    // SAFETY: the request says what `arg` points to, and the kernel has read it.
    unsafe {
        match request {
            KVM_ENABLE_CAP => machine.enabled(*arg.cast::<EnableCap>()),
            KVM_GET_DIRTY_LOG => machine.filter_log(plan, fd, *arg.cast::<DirtyLog>()),
            _ => machine.plugged(*arg.cast::<MemoryRegion>()),
        }
    }
}

impl ShimMachine {
    fn enabled(&mut self, cap: EnableCap) {
        if cap.cap == KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 {
            self.manual = cap.args[0] & 1 != 0;
        }
    }

    fn plugged(&mut self, region: MemoryRegion) {
        if region.bytes == 0 {
            self.slots.remove(&region.slot);
            return;
        }
        // Switching logging on and off plugs the same slot again: how far the plan is stays.
        let slot = self.slots.entry(region.slot).or_default();
        (slot.gpa, slot.bytes) = (region.gpa, region.bytes);
    }

    /// # Safety
    ///
    /// `log` is the argument of a KVM_GET_DIRTY_LOG that went well.
    unsafe fn filter_log(&mut self, plan: WithholdPlan, fd: c_int, log: DirtyLog) {
        let Some(slot) = self.slots.get_mut(&log.slot) else { return };
        let page_size = page_size();
        let pages = slot.bytes / page_size;
        // SAFETY: the kernel has just written a bit for each page, in whole words, to it.
        let bitmap =
            unsafe { std::slice::from_raw_parts_mut(log.bitmap, pages.div_ceil(64) as usize) };
        let Some(page) = slot.progress.choose(plan, set_bits(bitmap)) else { return };
        let (word, bit) = ((page / 64) as usize, 1u64 << (page % 64));
        bitmap[word] &= !bit;
        if self.manual {
            // The kernel still holds the bit and would name the page again: clear it there too,
            // which also protects the page again, as if it had never been written.
            let first = page / 64 * 64;
            let pages = 64.min(pages - first) as u32;
            let mut clear = ClearDirtyLog { slot: log.slot, pages, first, bitmap: &bit };
            // SAFETY: the kernel reads one word, as `pages` is at most 64.
            let answer =
                unsafe { real::ioctl(fd, KVM_CLEAR_DIRTY_LOG, (&raw mut clear).cast::<c_void>()) };
            let error = std::io::Error::last_os_error();
            assert!(answer >= 0, "memtwin-shim: KVM_CLEAR_DIRTY_LOG for page {page}: {error}");
        }
        ledger::note(format_args!(
            "kvm vm={} slot={} page={page} gpa={:#x} collection={}",
            self.number,
            log.slot,
            slot.gpa + page * page_size,
            slot.progress.collections(),
        ));
    }
}

fn set_bits(bitmap: &[u64]) -> impl Iterator<Item = u64> + '_ {
    let words = bitmap.iter().zip(0u64..).filter(|&(&word, _)| word != 0);
    words.flat_map(|(&word, n)| {
        (0..64).filter(move |bit| word & (1 << bit) != 0).map(move |bit| n * 64 + bit)
    })
}

/// The unit of KVM's log: the host's page.
pub(crate) fn page_size() -> u64 {
    // SAFETY: sysconf only reads.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or_else(|_| panic!("memtwin-shim: the page size is {bytes}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_are_as_large_as_the_requests_say() {
        let bytes = |request: c_ulong| (request >> 16) as usize & 0x3fff;
        assert_eq!(size_of::<MemoryRegion>(), bytes(KVM_SET_USER_MEMORY_REGION));
        assert_eq!(size_of::<DirtyLog>(), bytes(KVM_GET_DIRTY_LOG));
        assert_eq!(size_of::<ClearDirtyLog>(), bytes(KVM_CLEAR_DIRTY_LOG));
        // Of these two only the beginning is declared.
        assert!(size_of::<EnableCap>() <= bytes(KVM_ENABLE_CAP));
        assert!(size_of::<MemoryRegion>() <= bytes(KVM_SET_USER_MEMORY_REGION2));
    }

    #[test]
    fn bits_become_pages() {
        assert_eq!(set_bits(&[1 | 1 << 63, 0, 2]).collect::<Vec<_>>(), [0, 63, 129]);
        assert_eq!(set_bits(&[0, 0]).count(), 0);
    }
}
