//! The stores on aarch64.

#![allow(unsafe_code, reason = "inline assembly")]

use std::arch::asm;

/// Stores eight bytes by one instruction, at any address.
///
/// # Safety
/// The eight bytes must be writable, and no reference of Rust's may lie there.
pub(crate) unsafe fn store(to: *mut u8, value: u64) {
    // SAFETY: one store to the bytes that the caller vouches for; normal memory may be unaligned.
    unsafe {
        asm!("str {value}, [{to}]", to = in(reg) to, value = in(reg) value,
             options(nostack, preserves_flags));
    }
}

/// Sets `len` bytes to zero, a cache line at a time by DC ZVA where the CPU allows it.
///
/// # Safety
/// The bytes must be writable, `to` and `len` multiples of the largest block that DC ZVA
/// can have (2 KiB), and no reference of Rust's may lie there.
pub(crate) unsafe fn clear(to: *mut u8, len: usize) {
    let size: u64;
    // SAFETY: reads a register that user mode may read (Arm ARM, DCZID_EL0).
    unsafe {
        asm!("mrs {}, dczid_el0", out(reg) size, options(nomem, nostack, preserves_flags));
    }
    // Bit 4: prohibited. Bits 3 to 0: the binary logarithm of the block's size in words of 4 bytes.
    let (prohibited, block) = (size & 16 != 0, 4usize << (size & 15));
    for offset in (0..len).step_by(if prohibited { 16 } else { block }) {
        let at = to.wrapping_add(offset);
        // SAFETY: the block, or the 16 bytes, at `at` lie in the range that the caller vouches
        // for, as it is aligned to both.
        unsafe {
            if prohibited {
                asm!("stp xzr, xzr, [{}]", in(reg) at, options(nostack, preserves_flags));
            } else {
                asm!("dc zva, {}", in(reg) at, options(nostack, preserves_flags));
            }
        }
    }
}
