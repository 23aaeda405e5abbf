//! The copy and the prefetch on aarch64.

#![allow(unsafe_code, reason = "inline assembly")]

use std::arch::asm;

/// Copies `len` bytes.
///
/// # Safety
/// `len` bytes at `from` must be readable and at `to` writable, and the two must not overlap.
pub(crate) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: 64 bytes a turn, then single bytes: exactly the ranges that the caller vouches for.
    unsafe {
        asm!(
            "2: cmp {len}, #64",
            "b.lo 3f",
            "ldp q0, q1, [{from}], #32",
            "ldp q2, q3, [{from}], #32",
            "stp q0, q1, [{to}], #32",
            "stp q2, q3, [{to}], #32",
            "sub {len}, {len}, #64",
            "b 2b",
            "3: cbz {len}, 4f",
            "ldrb {byte:w}, [{from}], #1",
            "strb {byte:w}, [{to}], #1",
            "sub {len}, {len}, #1",
            "b 3b",
            "4:",
            len = inout(reg) len => _, from = inout(reg) from => _, to = inout(reg) to => _,
            byte = out(reg) _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            options(nostack),
        );
    }
}

/// Hints that the cache line at `address` will be touched soon.
pub(crate) fn prefetch(address: *const u8) {
    // SAFETY: a prefetch never faults and changes no state that a program can see.
    unsafe { asm!("prfm pldl1keep, [{}]", in(reg) address, options(nostack, preserves_flags)) }
}
