//! The function that takes the place of libc's `ioctl`.

#![allow(unsafe_code, reason = "it is called by C's rules, with addresses in it")]

use crate::{kvm, pagemap, plan::WithholdPlan, real};
use libc::{c_int, c_ulong, c_void};

/// ioctl(2), passed on to libc's, and its answer bent as planned.
///
/// # Safety
///
/// As for ioctl(2): `arg` is what the request asks for.
// SAFETY: libc declares `int ioctl(int, unsigned long, ...)`. On x86-64 and aarch64 Linux a variadic
// argument of pointer size travels in the same register as a named one (System V ABI 3.2.3, AAPCS64
// 6.8.2), so callers of the variadic function reach this one with the same three values. A request
// without an argument leaves the register as it was; it is passed on and not looked at.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, arg: *mut c_void) -> c_int {
    let Some(plan) = WithholdPlan::of_environment() else {
        // SAFETY: the caller's promise, passed on.
        return unsafe { real::ioctl(fd, request, arg) };
    };
    // SAFETY: the caller's promise, passed on; each takes only the requests that it knows.
    unsafe {
        if request == pagemap::PAGEMAP_SCAN {
            return pagemap::scan(plan, fd, arg);
        }
        let answer = real::ioctl(fd, request, arg);
        if answer >= 0 {
            kvm::answered(plan, fd, request, arg, answer);
        }
        answer
    }
}
