//! The stores on x86-64.

#![allow(unsafe_code, reason = "inline assembly")]

use std::arch::asm;

/// Stores eight bytes by one instruction, at any address.
///
/// # Safety
/// The eight bytes must be writable, and no reference of Rust's may lie there.
pub(crate) unsafe fn store(to: *mut u8, value: u64) {
    // SAFETY: one move to the bytes that the caller vouches for.
    unsafe {
        asm!("mov [{to}], {value}", to = in(reg) to, value = in(reg) value,
             options(nostack, preserves_flags));
    }
}

/// Sets `len` bytes to zero by one string instruction.
///
/// # Safety
/// The bytes must be writable, and no reference of Rust's may lie there.
pub(crate) unsafe fn clear(to: *mut u8, len: usize) {
    // SAFETY: the string store touches exactly the range that the caller vouches for; the direction
    // flag is clear by the ABI.
    unsafe {
        asm!("rep stosb", inout("rcx") len => _, inout("rdi") to => _, in("al") 0u8,
             options(nostack, preserves_flags));
    }
}
