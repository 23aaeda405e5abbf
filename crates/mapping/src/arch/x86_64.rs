//! The copy and the prefetch on x86-64.

#![allow(unsafe_code, reason = "inline assembly")]

use std::arch::asm;

/// Copies `len` bytes.
///
/// # Safety
/// `len` bytes at `from` must be readable and at `to` writable, and the two must not overlap.
pub(crate) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the string move touches exactly the ranges that the caller vouches for; the
    // direction flag is clear by the ABI.
    unsafe {
        asm!(
            "rep movsb",
            inout("rcx") len => _, inout("rsi") from => _, inout("rdi") to => _,
            options(nostack, preserves_flags),
        );
    }
}

/// Hints that the cache line at `address` will be touched soon.
pub(crate) fn prefetch(address: *const u8) {
    // SAFETY: a prefetch never faults and changes no state that a program can see.
    unsafe { asm!("prefetcht0 [{}]", in(reg) address, options(nostack, preserves_flags)) }
}
